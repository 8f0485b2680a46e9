<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * Caddy, as this guest asks it: at the operator's address, or at that which Caddy says and proves.
 *
 * @internal
 */
final class Caddy
{
    private const MAX_BATCH = 256; // questions that Caddy takes at once
    private const MAX_BODY = 1 << 20; // bytes
    private const MAX_PAUSE = 30.0; // seconds

    private string $believed = ''; // the last address that Caddy has proved to be its own
    private string $why = '';

    /**
     * @param string $url     the operator's address, or ""
     * @param float  $timeout seconds
     *
     * @throws \InvalidArgumentException if the address is none
     */
    public function __construct(private Keys $keys, private Memory $memory, private Log $log, private string $url, private float $timeout)
    {
        if ($url !== '') {
            Wire::parse($url);
            if (!$keys->areExpected()) {
                throw new \InvalidArgumentException('there is a WSGI_PARTY_URL to ask at, but no WSGI_PARTY_KEY. (php-fpm passes on only what its pool has, as env[WSGI_PARTY_KEY])');
            }
        }
    }

    /** Returns why the last questions were not answered, or "". */
    public function why(): string
    {
        return $this->why;
    }

    /**
     * Asks all questions, and returns the list of answers to each. What fails is logged, and without answers.
     *
     * @param list<array{string, string, bool, 3?: ?string}> $questions service, payload as JSON, whether one answer is enough, and the only guest to ask
     * @param string $partyAsk the header of the request that is being handled
     * @param array<string, string> $headers what goes with the questions
     *
     * @return list<list<mixed>>
     */
    public function ask(array $questions, string $partyAsk, array $headers): array
    {
        $answers = array_fill(0, count($questions), []);
        $deadline = hrtime(true) / 1e9 + $this->timeout;
        $this->why = '';
        if ($questions === []) {
            return [];
        }
        try {
            $address = $this->address($partyAsk);
            if ($this->keys->first() === '') {
                throw new \RuntimeException($this->keys->none());
            }
            foreach (self::batches($questions) as $batch) {
                $results = $this->watched($address, fn (): array => $this->post($address, $batch, $headers, $deadline));
                foreach (array_keys($batch) as $n => $i) {
                    $answers[$i] = $this->answers($questions[$i][0], $results[$n]);
                }
            }
        } catch (\RuntimeException $error) {
            $this->why = $error->getMessage();
        }
        return $answers;
    }

    private function address(string $partyAsk): string
    {
        if ($this->url !== '') {
            return $this->url;
        }
        $why = 'Caddy has not said where: write ask_on in its wsgi_party, or set WSGI_PARTY_URL';
        if (!$this->keys->areExpected()) {
            throw new \RuntimeException('WSGI_PARTY_KEY is not set. (php-fpm passes on only what its pool has, as env[WSGI_PARTY_KEY])');
        }
        if ($partyAsk !== '') {
            try {
                $address = $this->keys->address($partyAsk);
                Wire::parse($address);
                $this->believed = $address;
            } catch (\DomainException|\InvalidArgumentException $error) {
                $why = 'the header Party-Ask is not trusted: ' . $error->getMessage();
                $this->log->warnOnce('Party-Ask', $why);
            }
        }
        return $this->believed !== '' ? $this->believed : throw new \RuntimeException($why);
    }

    /**
     * Leaves Caddy alone while it is not reached: for a second, and twice as long each time.
     *
     * @param \Closure(): list<mixed> $ask
     * @return list<mixed>
     *
     * @throws \RuntimeException
     */
    private function watched(string $address, \Closure $ask): array
    {
        $now = hrtime(true) / 1e9;
        $down = $this->memory->recall("down $address");
        $pause = is_array($down) ? (float) $down['pause'] : 0.0;
        if (is_array($down)) {
            if ($now < $down['until']) {
                throw new \RuntimeException("Caddy could not be reached at $address, and is left alone for $pause s");
            }
            $this->memory->keep("down $address", ['until' => $now + $pause, 'pause' => $pause]); // while this one tries
        }
        try {
            $result = $ask();
        } catch (\UnexpectedValueException $error) {
            $result = $error; // from which it follows that it was reached
        } catch (\RuntimeException $error) {
            $pause = max(1.0, min(self::MAX_PAUSE, 2 * $pause));
            $this->memory->keep("down $address", ['until' => hrtime(true) / 1e9 + $pause, 'pause' => $pause]);
            $this->log->say('warning', "Caddy could not be reached at $address: {$error->getMessage()}; it is left alone for $pause s");
            throw $error;
        }
        if (is_array($down)) {
            $this->memory->forget("down $address");
        }
        if ($result instanceof \UnexpectedValueException) {
            $this->warn("asking at $address failed: {$result->getMessage()}");
            throw $result;
        }
        return $result;
    }

    /**
     * @param array<int, string> $batch
     * @param array<string, string> $headers
     *
     * @return list<mixed>
     *
     * @throws \UnexpectedValueException if Caddy answers something else
     * @throws \RuntimeException         if it does not answer
     */
    private function post(string $address, array $batch, array $headers, float $deadline): array
    {
        do {
            $authorized = ['Authorization' => 'Bearer ' . $this->keys->first(), 'Content-Type' => 'application/json'] + $headers;
            [$status, $content] = Wire::post($address, $authorized, '[' . implode(',', $batch) . ']', $deadline);
        } while ($status === 401 && $this->keys->readAgain()); // the file may have a new key
        $results = json_decode($content, true, 512, JSON_BIGINT_AS_STRING);
        if ($status !== 200) {
            $detail = is_array($results) && is_string($results['detail'] ?? null) ? $results['detail'] : $content;
            throw new \UnexpectedValueException("the answer is status $status: " . Log::quote($detail));
        }
        if (!is_array($results) || !array_is_list($results) || count($results) !== count($batch)) {
            throw new \UnexpectedValueException('the answer is not one result for each question: ' . Log::quote($content));
        }
        return $results;
    }

    /**
     * @param list<array{string, string, bool, 3?: ?string}> $questions
     * @return iterable<array<int, string>> their JSON by their number
     */
    private static function batches(array $questions): iterable
    {
        [$batch, $size] = [[], 2];
        foreach ($questions as $i => $question) {
            [$service, $payload, $first, $guest] = $question + [3 => null];
            $json = '{"service":' . Json::encode('the service', $service) . ",\"payload\":$payload" . ($first ? ',"first":true' : '')
                . ($guest === null ? '}' : ',"guest":' . Json::encode("the guest's name", $guest) . '}');
            if ($batch !== [] && (count($batch) === self::MAX_BATCH || $size + strlen($json) >= self::MAX_BODY)) {
                yield $batch;
                [$batch, $size] = [[], 2];
            }
            $batch[$i] = $json;
            $size += strlen($json) + 1;
        }
        if ($batch !== []) {
            yield $batch;
        }
    }

    /** @return list<mixed> */
    private function answers(string $service, mixed $result): array
    {
        $result = is_array($result) ? $result : [];
        foreach (is_array($result['replies'] ?? null) ? $result['replies'] : [] as $reply) {
            if (is_array($reply) && ($reply['status'] ?? '') === 'failed') {
                $this->warn('failed to answer ' . Log::quote($service) . ': ' . Log::quote(is_string($reply['error'] ?? null) ? $reply['error'] : ''));
            }
        }
        if (is_array($result['answers'] ?? null)) {
            return array_values($result['answers']);
        }
        if (($result['status'] ?? 0) !== 404) { // then nobody answers for it
            $this->warn('asking for ' . Log::quote($service) . ' failed: ' . Log::quote(is_string($result['detail'] ?? null) ? $result['detail'] : 'no answers'));
        }
        return [];
    }

    /** Says what every page may run into. */
    private function warn(string $message): void
    {
        $this->log->warnOnce($message, $message);
    }
}
