<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * What is remembered from request to request: in APCu if that is there, else as long as this process lives, which is
 * one request under php-fpm and many in the workers of FrankenPHP and others.
 *
 * APCu is shared with whatever else runs under the same php-fpm. So names and values are authenticated with the
 * guest's key, and nobody else can have it ask for what it does not want to know.
 *
 * @internal
 */
final class Memory
{
    private const MOST = 1024; // kept by the process, those that were used last
    private const SECONDS = 86400; // that APCu keeps

    /** @var array<string, string> */
    private static array $kept = [];

    public function __construct(private Keys $keys)
    {
    }

    public static function isShared(): bool
    {
        return function_exists('apcu_enabled') && apcu_enabled();
    }

    /** Returns what is kept under a name, or null. */
    public function recall(string $name): mixed
    {
        $place = $this->place($name);
        $sealed = self::isShared() ? apcu_fetch($place) : self::$kept[$place] ?? null;
        [$seal, $text] = explode(' ', is_string($sealed) ? $sealed : '', 2) + [1 => ''];
        return $text !== '' && hash_equals($this->keys->mac("kept $place $text"), $seal) ? json_decode($text, true) : null;
    }

    public function keep(string $name, mixed $value): void
    {
        $place = $this->place($name);
        $text = json_encode($value, JSON_THROW_ON_ERROR);
        $sealed = $this->keys->mac("kept $place $text") . " $text";
        if (self::isShared()) {
            apcu_store($place, $sealed, self::SECONDS);
            return;
        }
        unset(self::$kept[$place]);
        if (count(self::$kept) >= self::MOST) {
            unset(self::$kept[array_key_first(self::$kept)]);
        }
        self::$kept[$place] = $sealed;
    }

    public function forget(string $name): void
    {
        $place = $this->place($name);
        unset(self::$kept[$place]);
        if (self::isShared()) {
            apcu_delete($place);
        }
    }

    private function place(string $name): string
    {
        return 'wsgi_party ' . $this->keys->mac("place of $name");
    }
}
