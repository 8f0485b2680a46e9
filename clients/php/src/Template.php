<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * The URL template of a page: what Caddy takes of RFC 6570, with {x}, {/x}, {.x}, {;x}, {?x} and {&x}, several
 * variables in one, and the modifiers * and :n. It expands as Caddy does, so that a page has one URL, whoever links to it.
 *
 * @internal
 */
final class Template
{
    private const VARIABLES = '(?!http\.)[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*(?:\*|:[1-9][0-9]{0,3})?(?:,(?&variables))?';
    private const GRAMMAR = '~(?(DEFINE)(?<variables>' . self::VARIABLES . ')'
        . '(?<literal>[A-Za-z0-9\-._\~!$&\'()*+,;=:@/]|%[0-9A-Fa-f]{2}|[^\x00-\x{9f}\x{2028}\x{2029}]))'
        . '^/(?:(?&literal)|\{[/.;]?(?&variables)\})*+(?:\{\?(?&variables)\}|\?(?:(?&literal)|[?]|\{&?(?&variables)\})*+)?$~Du';

    /** What Caddy refuses in the path of a URL, once nothing in it is escaped: a dot segment, and an empty one that is not the last. */
    private const ASTRAY = '~/(?:\.\.?(?:;[^/]*)?(?:/|$)|(?:;[^/]*)?/)~D';

    public function __construct(private string $text)
    {
    }

    public function __toString(): string
    {
        return $this->text;
    }

    /** Returns why Caddy would refuse it, or null. */
    public function problem(): ?string
    {
        if (preg_match(self::GRAMMAR, $this->text) !== 1) {
            return 'it is not a template: write one such as /posts/{slug}, /docs{/path*} or /search{?q,page}';
        }
        preg_match_all('/\{[^}]*\}/', $this->text, $expressions);
        foreach ($expressions[0] as $expression) {
            $names = preg_split('/(?:\*|:\d+)?[,}]|\{[\/.;?&]?/', $expression, -1, PREG_SPLIT_NO_EMPTY) ?: [];
            if (count($names) !== count(array_unique($names))) {
                return "it has a variable twice in $expression";
            }
        }
        if (count($expressions[0]) > 64) {
            return 'it has more than 64 expressions';
        }
        return self::strays((string) preg_replace(['/\{\?.*/', '/\{([\/.;]?)[^}]*\}/'], ['', '$1x'], $this->text));
    }

    /**
     * Returns the path, and the query, below the mount.
     *
     * @param array<mixed> $values
     *
     * @throws \InvalidArgumentException for a value that is missing, or nothing for a URL
     */
    public function expand(array $values): string
    {
        if (($problem = $this->problem()) !== null) {
            throw new \InvalidArgumentException("the template $this->text cannot be a link: $problem");
        }
        $url = (string) preg_replace_callback(
            '~\{([/.;?&]?)([^}]+)\}|[^\x00-\x7f]+~',
            fn (array $match): string => isset($match[2]) ? $this->expression($match[1], $match[2], $values) : rawurlencode($match[0]),
            $this->text,
        );
        if (($problem = self::strays($url)) !== null) {
            throw new \InvalidArgumentException("the template $this->text cannot be a link with these values: $problem");
        }
        return $url;
    }

    /** Whether a path, escaped, may be that of the page. */
    public function matches(string $path): bool
    {
        $some = ['' => '[^/]+', '/' => '(?:/[^/]+)+', '.' => '\.[^/]+', ';' => '(?:;[^/]+)?'];
        $decode = static fn (string $text): string => rawurldecode(str_ireplace('%2F', '%252F', $text));
        $parts = preg_split('~\{([/.;]?)[^}]*\}~', preg_split('~\{?\?~', $this->text, 2)[0] ?? '', -1, PREG_SPLIT_DELIM_CAPTURE) ?: [];
        foreach ($parts as $i => $part) {
            $parts[$i] = $i % 2 ? $some[$part] : preg_quote($decode($part), '~');
        }
        return preg_match('~^' . implode($parts) . '$~D', $decode($path)) === 1;
    }

    /**
     * Returns values as texts, and lists and arrays of texts: without null, and what is empty.
     *
     * @param array<mixed> $values
     * @param ?string $listName what they are the value of, if that is a list or an array
     * @return array<string|array<string>>
     *
     * @throws \InvalidArgumentException for values that are nothing for a URL
     */
    public static function textual(array $values, ?string $listName = null): array
    {
        foreach ($values as $name => $value) {
            $values[$name] = match (true) {
                is_bool($value) => $value ? 'true' : 'false',
                is_float($value) && is_finite($value) => json_encode($value, JSON_THROW_ON_ERROR),
                is_int($value), is_string($value), $value instanceof \Stringable => (string) $value,
                $value instanceof \BackedEnum => (string) $value->value,
                is_array($value) && $listName === null => self::textual($value, (string) $name),
                $value === null => null,
                default => throw new \InvalidArgumentException('the value of ' . Log::quote($listName ?? (string) $name) . ' is of type ' . get_debug_type($value) . ', which a URL cannot express'),
            };
            if (is_string($values[$name]) && !preg_match('//u', "$name{$values[$name]}")) {
                throw new \InvalidArgumentException('the value of ' . Log::quote($listName ?? (string) $name) . ' is not in UTF-8');
            }
        }
        $isList = array_is_list($values);
        $values = array_filter($values, static fn (mixed $value): bool => $value !== null && $value !== []);
        return $isList ? array_values($values) : $values;
    }

    /** @param array<mixed> $values */
    private function expression(string $operator, string $variables, array $values): string
    {
        $separator = ['' => ',', '?' => '&'][$operator] ?? $operator;
        $isNamed = $operator !== '' && str_contains(';?&', $operator);
        $pair = static fn (string $name, string $text): string => $text === '' && $operator === ';' ? $name : "$name=$text";
        $parts = [];
        foreach (explode(',', $variables) as $variable) {
            preg_match('/^([^*:]+)(\*?)(?::(\d+))?$/', $variable, $spec);
            [, $name, $explodes] = $spec;
            $value = self::textual([$name => $values[$name] ?? null])[$name] ?? null;
            if ($value === null) {
                if ($operator !== '?' && $operator !== '&') {
                    throw new \InvalidArgumentException("the template $this->text needs a value for $name");
                }
                continue;
            }
            if (isset($spec[3])) {
                if (!is_string($value)) {
                    throw new \InvalidArgumentException("the template $this->text needs a text for $name, since it takes the first $spec[3] characters");
                }
                $value = preg_match("/^.{0,$spec[3]}/us", $value, $first) ? $first[0] : '';
            }
            if ($operator === '/' && $explodes !== '' && is_string($value)) {
                $value = explode('/', $value); // which RFC 6570 would escape, and Caddy keeps
            }
            $isList = is_string($value) || array_is_list($value);
            $elements = [];
            foreach ((array) $value as $key => $text) {
                $key = rawurlencode((string) $key);
                $text = rawurlencode($text);
                $elements[] = match (true) {
                    $explodes === '' && !$isList => "$key,$text",
                    $explodes === '' => $text,
                    !$isNamed => $isList ? $text : "$key=$text",
                    default => $isList ? $pair($name, $text) : "$key=$text",
                };
            }
            $text = implode($explodes === '' ? ',' : $separator, $elements);
            $parts[] = $isNamed && $explodes === '' ? $pair($name, $text) : $text;
        }
        return $parts === [] ? '' : $operator . implode($separator, $parts);
    }

    /** Returns what is in a path that could lead out of the mount, however often it is escaped, or null. */
    private static function strays(string $url): ?string
    {
        $path = explode('?', $url, 2)[0];
        while ($path !== ($decoded = rawurldecode($path))) {
            $path = $decoded;
        }
        return match (true) {
            preg_match('~[\x00-\x1f\x7f\\\\]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]~', $path) === 1 => 'its path has a control character or a backslash',
            preg_match(self::ASTRAY, $path) === 1 => 'its path has a segment that is empty, . or ..',
            default => null,
        };
    }
}
