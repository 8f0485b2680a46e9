<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * What this library has to say, in the application's log.
 *
 * @internal
 */
final class Log
{
    /** @var array<string, true> subjects of warnings */
    private static array $said = [];

    /** @param ?\Closure(string, string): mixed $to gets level and message, as PSR-3 has it; else error_log */
    public function __construct(private ?\Closure $to = null)
    {
    }

    public function say(string $level, string $message): void
    {
        $message = (string) preg_replace('/[\x00-\x1f\x7f]+/', ' ', $message); // it is one line
        if ($this->to !== null) {
            ($this->to)($level, $message);
        } else {
            error_log("wsgi_party $level: $message");
        }
    }

    /** Says what visitors may have caused once a process, or once an hour where processes end with their request and APCu is there. */
    public function warnOnce(string $subject, string $message): void
    {
        if (isset(self::$said[$subject]) || count(self::$said) >= 100) {
            return;
        }
        self::$said[$subject] = true;
        if (!Memory::isShared() || apcu_add('wsgi_party said ' . hash('sha256', __DIR__ . $subject), 1, 3600)) {
            $this->say('warning', $message);
        }
    }

    /** Returns text as one line of ASCII, cut if it is long: what others have written may try to look like lines of a log. */
    public static function quote(string $text): string
    {
        $text = strlen($text) > 200 ? substr($text, 0, 200) . '...' : $text;
        return json_encode($text, JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
    }
}
