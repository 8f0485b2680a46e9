<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * One HTTP request, with a time-out for all of it, an answer of bounded length, over TCP, TLS or a unix socket, past
 * all proxies. It follows no redirect. Not curl, which is not always there, nor PHP's own http://, which has none of these.
 *
 * Each request has a connection of its own. One that PHP keeps from script to script ("persistent") may have been left
 * by a script that ended before it had read its answer, which the next script would take for its own.
 *
 * @internal
 */
final class Wire
{
    private const MAX_RESPONSE = (8 << 20) + (1 << 16); // bytes
    private const MAX_LINE = 1 << 13;
    private const MAX_HEAD_LINES = 100;

    private string $buffer = '';
    private int $at = 0; // in the buffer, up to where it has been read
    private int $received = 0;

    /** @param resource $stream */
    private function __construct(private $stream, private float $deadline)
    {
        stream_set_blocking($stream, false);
    }

    /**
     * @param array<string, string> $headers
     * @param float $deadline in seconds of hrtime
     *
     * @return array{int, string} status and body
     *
     * @throws \UnexpectedValueException if the answer is not HTTP, or too long
     * @throws \RuntimeException         if there is none, or not in time
     */
    public static function post(string $address, #[\SensitiveParameter] array $headers, string $body, float $deadline): array
    {
        [$target, $host, $path] = self::parse($address);
        $request = "POST $path HTTP/1.1\r\n";
        foreach (['Host' => $host, 'Content-Length' => (string) strlen($body), 'Connection' => 'close'] + $headers as $name => $value) {
            $request .= "$name: $value\r\n";
        }
        // Warnings are told by exceptions, without the arguments, among which is the key.
        $warning = '';
        set_error_handler(static function (int $level, string $message) use (&$warning): bool {
            $warning = $warning ?: (string) preg_replace('/\s+/', ' ', $message); // the first says why
            return true;
        });
        try {
            $left = max(0.001, $deadline - hrtime(true) / 1e9);
            $stream = stream_socket_client($target, $code, $why, $left, STREAM_CLIENT_CONNECT, stream_context_create(['socket' => ['tcp_nodelay' => true]]));
            if ($stream === false) {
                throw new \RuntimeException('no connection: ' . ($why ?: $warning));
            }
            $wire = new self($stream, $deadline);
            $wire->send("$request\r\n$body");
            return $wire->response();
        } finally {
            restore_error_handler();
            if (isset($stream) && is_resource($stream)) {
                fclose($stream);
            }
        }
    }

    /**
     * @return array{string, string, string} socket, host and path
     *
     * @throws \InvalidArgumentException if it is not an address to ask at
     */
    public static function parse(string $address): array
    {
        if (preg_match('~^unix/(/[!-:<-\~]+)$~D', $address, $match)) {
            return ["unix://$match[1]", 'localhost', '/'];
        }
        if (!preg_match('~^(https?)://((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?)((?:/[!-"$-:<->@-\~]*)?)$~D', $address, $match)) {
            throw new \InvalidArgumentException('the address to ask at is neither http://host:port/ nor unix//path: ' . Log::quote($address));
        }
        [, $scheme, $host, $port, $path] = $match;
        $defaultPort = $scheme === 'https' ? ':443' : ':80';
        return [($scheme === 'https' ? 'tls' : 'tcp') . "://$host" . ($port === '' ? $defaultPort : ''), $host, rtrim($path, '/') . '/'];
    }

    private function send(#[\SensitiveParameter] string $text): void
    {
        while ($text !== '') {
            $this->wait(writing: true);
            $sent = fwrite($this->stream, $text);
            if ($sent === false) {
                return; // it may have answered without reading all
            }
            $text = substr($text, $sent);
        }
    }

    /** @return array{int, string} */
    private function response(): array
    {
        do {
            [$status, $length, $isChunked] = $this->head();
        } while ($status < 200);
        $body = '';
        if ($isChunked) {
            while (($size = $this->chunkSize()) > 0) {
                $body .= $this->bytes($size);
                $this->line();
            }
        } elseif ($length !== null) {
            $body = $this->bytes($length);
        } else {
            while ($this->fill());
            $body = substr($this->buffer, $this->at);
        }
        return [$status, $body];
    }

    /** @return array{int, ?int, bool} status, length of the body, and whether it is chunked */
    private function head(): array
    {
        if (!preg_match('~^HTTP/1\.[01] ([1-5]\d\d)(?: |$)~D', $this->line(), $match)) {
            throw new \UnexpectedValueException('its answer is not HTTP');
        }
        [$length, $isChunked] = [null, false];
        for ($lines = 0; ($line = $this->line()) !== ''; $lines++) {
            if ($lines === self::MAX_HEAD_LINES) {
                throw new \UnexpectedValueException('its answer has an endless head');
            }
            if (preg_match('/^Content-Length:[ \t]*(\d{1,10})[ \t]*$/Di', $line, $found)) {
                $length = (int) $found[1];
            } elseif (preg_match('/^Transfer-Encoding:/i', $line)) {
                $isChunked = true;
            }
        }
        return [(int) $match[1], $length, $isChunked];
    }

    private function chunkSize(): int
    {
        if (!preg_match('/^([0-9A-Fa-f]{1,8})[ \t]*(?:;|$)/D', $this->line(), $match)) {
            throw new \UnexpectedValueException('its answer is badly chunked');
        }
        return (int) hexdec($match[1]);
    }

    private function line(): string
    {
        while (($end = strpos($this->buffer, "\n", $this->at)) === false) {
            if (strlen($this->buffer) - $this->at > self::MAX_LINE) {
                throw new \UnexpectedValueException('its answer is not HTTP');
            }
            $this->fill() ?: throw new \RuntimeException('its answer is cut off');
        }
        return rtrim($this->bytes($end + 1 - $this->at), "\r\n");
    }

    private function bytes(int $count): string
    {
        if ($count > self::MAX_RESPONSE) {
            throw new \UnexpectedValueException('its answer is too long');
        }
        while (strlen($this->buffer) - $this->at < $count) {
            $this->fill() ?: throw new \RuntimeException('its answer is cut off');
        }
        $bytes = substr($this->buffer, $this->at, $count);
        $this->at += $count;
        return $bytes;
    }

    /** Receives more, or returns false at the end. */
    private function fill(): bool
    {
        do {
            $this->wait(writing: false);
            $text = (string) fread($this->stream, 1 << 16);
        } while ($text === '' && !feof($this->stream));
        $this->received += strlen($text);
        if ($this->received > self::MAX_RESPONSE) {
            throw new \UnexpectedValueException('its answer is too long');
        }
        if ($this->at > 0) {
            [$this->buffer, $this->at] = [substr($this->buffer, $this->at), 0];
        }
        $this->buffer .= $text;
        return $text !== '';
    }

    private function wait(bool $writing): void
    {
        do {
            $left = $this->deadline - hrtime(true) / 1e9;
            if ($left <= 0) {
                throw new \RuntimeException('it did not answer in time');
            }
            $reads = $writing ? [] : [$this->stream];
            $writes = $writing ? [$this->stream] : [];
            $none = null;
            $ready = stream_select($reads, $writes, $none, (int) $left, (int) (fmod($left, 1) * 1e6));
        } while ($ready === 0); // of a signal it is false
    }
}
