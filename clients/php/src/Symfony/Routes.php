<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty\Symfony;

use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;

/**
 * Symfony's routes as URL templates.
 *
 * @internal
 */
final class Routes
{
    /** Characters that Symfony leaves in a path as they are. */
    private const UNESCAPED = ['%2F' => '/', '%40' => '@', '%3A' => ':', '%3B' => ';', '%2C' => ',', '%3D' => '=', '%2B' => '+', '%21' => '!', '%2A' => '*'];

    /**
     * Returns templates by the names of routes, and by those of routes that have none, why.
     *
     * @param string $host   at which the application is asked
     * @param string $locale of a localized route that is named without one
     *
     * @return array{array<string, string>, array<string, string>}
     */
    public static function templates(RouteCollection $routes, string $host, string $locale): array
    {
        $templates = $reasons = [];
        foreach ($routes as $name => $route) {
            $names = [$name];
            if ($route->hasDefault('_canonical_route') && $route->getDefault('_locale') === $locale) {
                $names[] = $route->getDefault('_canonical_route');
            }
            $template = self::template($route, $host, $why);
            foreach ($names as $each) {
                if (str_starts_with($each, '_') || $template === null) {
                    $reasons[$each] = $template === null ? $why : 'it begins with _, which is private to Symfony';
                } else {
                    $templates[$each] = $template;
                    $optional = array_filter($route->compile()->getPathVariables(), $route->hasDefault(...));
                    if ($optional !== []) {
                        $reasons["$each without " . implode(' and ', $optional)] = 'a template has no default values';
                    }
                }
            }
        }
        return [$templates, $reasons];
    }

    private static function template(Route $route, string $host, ?string &$why): ?string
    {
        $compiled = $route->compile();
        if ($compiled->getHostVariables() !== [] || ($compiled->getHostRegex() !== null && !preg_match($compiled->getHostRegex(), $host))) {
            $why = "it is at another host, {$route->getHost()}";
            return null;
        }
        $template = '';
        foreach (array_reverse($compiled->getTokens()) as $token) {
            if ($token[0] === 'text') {
                $template .= strtr(rawurlencode($token[1]), self::UNESCAPED);
                continue;
            }
            [, $separator, $pattern, $variable] = $token;
            // What may have slashes in it is a list of segments, and is best written as one.
            $hasSlashes = $separator === '/' && preg_match("#^(?:$pattern)$#u", 'a/b') === 1;
            $template .= $hasSlashes ? "{/$variable*}" : strtr(rawurlencode($separator), self::UNESCAPED) . '{' . $variable . '}';
        }
        return $template === '' ? '/' : $template;
    }
}
