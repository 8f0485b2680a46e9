<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * JSON that every parser accepts (docs/guests.md, "JSON").
 *
 * @internal
 */
final class Json
{
    private const MAX_DEPTH = 64;
    private const MAX_PAYLOAD = (1 << 20) - (1 << 10); // bytes: a question has to have room in a request

    /**
     * @param string $what it is, for the error
     *
     * @throws \InvalidArgumentException if JSON cannot carry the value
     */
    public static function encode(string $what, mixed $value): string
    {
        try {
            $json = json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION, self::MAX_DEPTH);
        } catch (\JsonException $error) {
            throw new \InvalidArgumentException("$what cannot be JSON: {$error->getMessage()}", 0, $error);
        }
        if (str_contains($json, '\u0000') && preg_match('/"(?:[^"\\\\]++|\\\\[^u]|\\\\u(?!0000))*+\\\\u0000(?:[^"\\\\]++|\\\\.)*+":/', $json) !== 0) {
            throw new \InvalidArgumentException("$what has a NUL in the name of a member");
        }
        return $json;
    }

    /** Returns JSON that Caddy takes with a question. */
    public static function payload(string $what, mixed $value): string
    {
        $json = self::encode($what, $value);
        return strlen($json) <= self::MAX_PAYLOAD ? $json : throw new \InvalidArgumentException("$what has " . strlen($json) . ' bytes as JSON, but may have at most ' . self::MAX_PAYLOAD);
    }

    /**
     * Objects become arrays, and integers that PHP has not, texts.
     *
     * @param int $around how many lists and objects are around what every parser accepts
     *
     * @throws \JsonException
     */
    public static function decode(string $json, int $around = 0): mixed
    {
        return json_decode($json, true, self::MAX_DEPTH + 1 + $around, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
    }
}
