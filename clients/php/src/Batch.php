<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * Several asks of one service in one request, and what became of each (docs/guests.md, "Several asks in one request").
 *
 * @internal
 */
final class Batch
{
    public const MAX_BODY = (1 << 20) + (1 << 14); // bytes: a payload, and the token beside it

    private const MOST = 64;

    /**
     * Returns the asks, each with "" for a token or traceparent that it does not have, or none that a header can carry.
     *
     * @return list<array{payload: mixed, token: string, traceparent: string}>
     *
     * @throws \UnexpectedValueException if it is no such list
     * @throws \JsonException
     */
    public static function asks(string $body): array
    {
        $batch = Json::decode($body, 2);
        // To PHP {"0": …} is a list, too.
        if (!is_array($batch) || $batch === [] || count($batch) > self::MOST || !str_starts_with(ltrim($body), '[')) {
            throw new \UnexpectedValueException('not a list of 1 to ' . self::MOST . ' asks');
        }
        return array_map(static function (mixed $ask): array {
            if (!is_array($ask) || !array_key_exists('payload', $ask)) {
                throw new \UnexpectedValueException('an ask without a payload');
            }
            $asked = ['payload' => $ask['payload'], 'token' => '', 'traceparent' => ''];
            foreach (['token', 'traceparent'] as $name) {
                $text = array_key_exists($name, $ask) ? $ask[$name] : '';
                if (!is_string($text)) {
                    throw new \UnexpectedValueException("a $name that is not text");
                }
                $asked[$name] = preg_match('/^[!-~]{1,8192}$/D', $text) ? $text : '';
            }
            return $asked;
        }, $batch);
    }

    /**
     * Returns the element that says what became of an ask.
     *
     * @param array{int, string} $outcome its status, as if it had come alone, and its answer in JSON, or what went wrong
     */
    public static function element(array $outcome): string
    {
        [$status, $text] = $outcome;
        return match ($status) {
            200 => "{\"answer\":$text}",
            204 => '{"declined":true}',
            default => Json::encode('the error', ['error' => $text]),
        };
    }
}
