<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * The keys of this guest: what is signed with one of them comes from Caddy. The first is what it asks with.
 *
 * @internal
 */
final class Keys
{
    private const LEAST = 32; // bytes
    private const MAX_FILE = 1 << 16;
    private const MAX_PARTY_ASK = 1 << 10;

    /** @var list<string> */
    private array $keys;
    private string $file;
    private float $read = 0.0; // the file, in seconds of a clock of its own

    /**
     * @param ?string $key  keys with white space between them, else WSGI_PARTY_KEY
     * @param ?string $file a file with the same in it, else WSGI_PARTY_KEY_FILE. Caddy may write it later
     */
    public function __construct(#[\SensitiveParameter] ?string $key, ?string $file, private Log $log)
    {
        $this->keys = self::parse($key ?? ($file === null ? self::setting('WSGI_PARTY_KEY') : ''), 'WSGI_PARTY_KEY');
        $this->file = $this->keys === [] ? $file ?? ($key === null ? self::setting('WSGI_PARTY_KEY_FILE') : '') : '';
    }

    /** @return array<string, int> without the keys, for var_dump and error pages */
    public function __debugInfo(): array
    {
        return ['keys' => count($this->keys)];
    }

    /** Returns a variable of the environment, as php-fpm (env[…]), FrankenPHP and others have it, or .env files. */
    public static function setting(string $name): string
    {
        $value = $_SERVER[$name] ?? $_ENV[$name] ?? getenv($name);
        return is_string($value) ? trim($value) : '';
    }

    /** Whether there are keys, or a file in which they will be. */
    public function areExpected(): bool
    {
        return $this->keys !== [] || $this->file !== '';
    }

    /** Returns the key to ask with, or "". */
    public function first(): string
    {
        return $this->all()[0] ?? '';
    }

    /** Returns what the first key makes of a text of this library's own, in base64url. */
    public function mac(string $text): string
    {
        return self::base64url(hash_hmac('sha256', "wsgi_party php v1\0$text", $this->first(), true));
    }

    /** Whether one of the keys signed the text. Keys of a file may have changed. */
    public function signed(string $text, string $signature): bool
    {
        return self::isSignedBy($this->all(), $text, $signature)
            || ($this->readAgain() && self::isSignedBy($this->keys, $text, $signature));
    }

    /**
     * Returns the address in a header Party-Ask, at which the key may be shown: whoever could have another one
     * believed would be sent it.
     *
     * @throws \DomainException if Caddy has not signed it
     */
    public function address(string $partyAsk): string
    {
        $parts = array_map('trim', explode(';', $partyAsk));
        $macs = $lines = [];
        foreach (array_slice($parts, 1) as $parameter) {
            [$name, $value] = array_map('trim', explode('=', $parameter, 2) + [1 => '']);
            if (strtolower($name) === 'mac') {
                $macs[] = $value;
            } elseif (strtolower($name) === 'line') {
                $lines[] = $value;
            }
        }
        if (strlen($partyAsk) > self::MAX_PARTY_ASK || count($macs) !== 1 || count($lines) > 1 || !preg_match('/^[!-~]+$/D', $parts[0])) {
            throw new \DomainException('it is not an address and its mac');
        }
        $said = $parts[0] . ($lines === [] ? '' : "; line=$lines[0]");
        if (!$this->signed("wsgi_party ask v1\0$said", $macs[0])) {
            throw new \DomainException($this->all() === [] ? $this->none() : 'it is not signed with the key. If no visitor can reach PHP past Caddy, the keys here and there differ');
        }
        return $parts[0];
    }

    /** Reads the file again, once a second at most, and returns whether the keys are others now. */
    public function readAgain(): bool
    {
        $before = $this->keys;
        if ($this->file !== '' && hrtime(true) / 1e9 - $this->read >= 1) {
            $this->read();
        }
        return $this->keys !== $before;
    }

    /** Says why there are no keys, though they are expected. */
    public function none(): string
    {
        return "$this->file, the file of the key, does not exist yet, or PHP may not read it";
    }

    public static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }

    /** @return list<string> */
    private function all(): array
    {
        if ($this->keys === [] && $this->file !== '') {
            $this->read();
        }
        return $this->keys;
    }

    private function read(): void
    {
        $this->read = hrtime(true) / 1e9;
        set_error_handler(static fn (): bool => true); // it may not be there yet
        $text = (string) file_get_contents($this->file, false, null, 0, self::MAX_FILE + 1);
        restore_error_handler();
        try {
            if (strlen($text) > self::MAX_FILE) {
                throw new \InvalidArgumentException("$this->file has more than " . self::MAX_FILE . ' bytes: it is not a file of keys');
            }
            $this->keys = self::parse($text, $this->file) ?: $this->keys;
        } catch (\InvalidArgumentException $error) {
            $this->log->warnOnce($error->getMessage(), $error->getMessage());
        }
    }

    /** @return list<string> */
    private static function parse(#[\SensitiveParameter] string $text, string $where): array
    {
        $keys = preg_split('/\s+/', $text, -1, PREG_SPLIT_NO_EMPTY) ?: [];
        foreach ($keys as $key) {
            if (strlen($key) < self::LEAST || preg_match('/[\x00-\x1f\x7f]/', $key)) {
                throw new \InvalidArgumentException("a key in $where has " . strlen($key) . ' bytes, but needs ' . self::LEAST . ' or more, without control characters: make one with `openssl rand -base64 32`');
            }
        }
        return $keys;
    }

    /** @param list<string> $keys */
    private static function isSignedBy(#[\SensitiveParameter] array $keys, string $text, string $signature): bool
    {
        $signed = false;
        foreach ($keys as $key) {
            $signed = hash_equals(self::base64url(hash_hmac('sha256', $text, $key, true)), $signature) || $signed;
        }
        return $signed;
    }
}
