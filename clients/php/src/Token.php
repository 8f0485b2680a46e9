<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * A Party-Token (docs/guests.md, "Proof") that a holder of the key signed and that is good now.
 *
 * @internal
 */
final class Token
{
    private const MAX_AGE = 60; // seconds
    private const LEEWAY = 30; // seconds that Caddy's clock may differ from this one's
    private const CLAIMS = ['aud' => 'string', 'iat' => 'integer', 'exp' => 'integer', 'htm' => 'string', 'htu' => 'string', 'bsh' => 'string', 'mnt' => 'string'];

    /** @param array{aud: string, iat: int, exp: int, htm: string, htu: string, bsh: string, mnt: string} $claims */
    private function __construct(public readonly string $text, private array $claims)
    {
    }

    /**
     * @param string $guest whom it has to be for, "" if that is not known
     *
     * @throws \DomainException that says what is wrong with it, and nothing secret
     */
    public static function parse(string $text, Keys $keys, string $guest): self
    {
        $parts = explode('.', $text);
        // Nothing of it is parsed, or believed, before this.
        if (count($parts) !== 3 || !$keys->signed("$parts[0].$parts[1]", $parts[2])) {
            throw new \DomainException($keys->first() === '' ? $keys->none() : 'it is not signed with the key');
        }
        [$header, $claims] = array_map(static fn (string $part): mixed => json_decode((string) base64_decode(strtr($part, '-_', '+/'), true), true, 8), $parts);
        foreach (self::CLAIMS as $claim => $type) {
            if (!is_array($claims) || gettype($claims[$claim] ?? null) !== $type) {
                throw new \DomainException("it has no $claim");
            }
        }
        $age = $claims['exp'] - $claims['iat'];
        self::refuse(match (true) {
            !is_array($header) || ($header['alg'] ?? null) !== 'HS256' || array_key_exists('crit', $header) => 'its algorithm is not HS256',
            $age < 0 || $age > self::MAX_AGE => 'it is good for too long',
            time() < $claims['iat'] - self::LEEWAY || time() >= $claims['exp'] + self::LEEWAY => 'it has expired, or the clocks differ',
            $claims['aud'] === '' || ($guest !== '' && $claims['aud'] !== $guest) => 'it is for another guest',
            !preg_match(Party::MOUNT, $claims['mnt']) || !str_starts_with(self::path($claims['htu']) . '/', $claims['mnt'] . '/') => 'its path is not below its mount',
            default => null,
        });
        return new self($text, $claims);
    }

    /**
     * Verifies that it was made for this very request.
     *
     * @throws \DomainException
     */
    public function verify(string $method, string $uri, string $body): void
    {
        $query = explode('?', $this->claims['htu'], 2)[1] ?? '';
        // PHP sees the path with the mount behind php_fastcgi, and without it otherwise.
        $paths = array_map('rawurldecode', [self::path($this->claims['htu']), $this->pathBelowMount()]);
        self::refuse(match (true) {
            $this->claims['htm'] !== $method => 'it is for another method',
            !in_array(rawurldecode(self::path($uri)), $paths, true) => 'it is for another path',
            $query !== (explode('?', $uri, 2)[1] ?? '') => 'it is for another query',
            !hash_equals(Keys::base64url(hash('sha256', $body, true)), $this->claims['bsh']) => 'it is for another body',
            default => null,
        });
    }

    /** Returns the path of the request, escaped, as the application calls it. */
    public function pathBelowMount(): string
    {
        $path = substr(self::path($this->claims['htu']), strlen($this->claims['mnt']));
        return $path === '' ? '/' : $path;
    }

    public function isGood(): bool
    {
        return time() < $this->claims['exp'];
    }

    private static function path(string $uri): string
    {
        return explode('?', $uri, 2)[0];
    }

    private static function refuse(?string $why): void
    {
        if ($why !== null) {
            throw new \DomainException($why);
        }
    }
}
