<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

/**
 * What Caddy is told of the application. It would refuse all of it for one thing that is wrong, or one too many: so
 * these are left out, and said.
 *
 * @internal
 */
final class Manifest
{
    private const MAX_BYTES = 1 << 16;
    private const MOST = ['services' => 256, 'urls' => 4096];
    private const MAX_SAID = 20;

    public readonly string $json;

    /** What is to be said about it: how much is in it, and what is not, and why. */
    public readonly string $report;

    /**
     * @param string $invite path of the invite, escaped, without a last slash
     * @param array<string, string> $pages their templates
     * @param list<string> $services
     * @param array<string, true> $alone those of them whose asks are not to come in lists
     * @param array<string, string> $leftOut pages that are left out already, and why
     */
    public function __construct(string $invite, array $pages, array $services, array $alone, array $leftOut)
    {
        $hrefs = [];
        foreach ($services as $service) {
            $hrefs[$service] = ['href' => "$invite/partyline/$service"] + (isset($alone[$service]) ? [] : ['batch' => true]);
        }
        $told = ['services' => [], 'urls' => []];
        $size = strlen('{"urls":{},"services":{}}');
        foreach (['services' => $hrefs, 'urls' => $pages] as $kind => $members) {
            foreach ($members as $name => $member) {
                $name = (string) $name;
                $wrong = match (true) {
                    !self::isName($name) => 'its name is not 1 to 64 letters, digits and . _ : -',
                    count($told[$kind]) >= self::MOST[$kind] => 'there are more than ' . self::MOST[$kind],
                    is_string($member) => (new Template($member))->problem(),
                    default => null,
                };
                $length = $wrong === null ? strlen(Json::encode($name, [$name => $member])) : 0;
                if ($wrong !== null || $size + $length > self::MAX_BYTES) {
                    $leftOut[$name] = $wrong ?? 'a manifest has at most ' . self::MAX_BYTES . ' bytes';
                    continue;
                }
                $size += $length;
                $told[$kind][$name] = $member;
            }
        }
        $this->json = Json::encode('the manifest', (object) array_map(static fn (array $members): object => (object) $members, array_filter($told)));
        $some = static fn (array $things, string $what): string => count($things) . " $what" . (count($things) === 1 ? '' : 's');
        $reasons = [];
        foreach (array_slice($leftOut, 0, self::MAX_SAID, true) as $name => $why) {
            $reasons[] = Log::quote((string) $name) . " ($why)";
        }
        $this->report = "Caddy is told of {$some($told['urls'], 'page')} and {$some($told['services'], 'service')}"
            . ($reasons === [] ? '' : ', but not of ' . implode(', ', $reasons))
            . (count($leftOut) > self::MAX_SAID ? ' and ' . (count($leftOut) - self::MAX_SAID) . ' more' : '');
    }

    /** Whether it can be the name of a page or a service. */
    public static function isName(string $name): bool
    {
        return preg_match('/^[A-Za-z0-9._:-]{1,64}$/D', $name) === 1;
    }
}
