<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A plain application, one line of which is the party's.

declare(strict_types=1);

require __DIR__ . '/../src/Party.php';

use WsgiParty\Party;

$party = Party::plain(
    ['home' => '/', 'links' => '/links', 'many' => '/many', 'ask' => '/ask', 'nested' => '/php/links', 'post' => '/posts/{slug}',
        'docs' => '/docs{/path*}', 'search' => '/search{?q,tag*}', 'über' => '/x', 'colon' => '/posts/:slug', 'up' => '/a/../b', '"</script>' => '/y'],
    ['ping' => fn (): string => 'pong',
        'user' => fn (mixed $payload, Party $party): mixed => match ($payload['id'] ?? 0) {
            7 => ['name' => 'Ann', 'price' => $party->askFirst('price', ['id' => 7]), 'home' => $party->urlFor('home')],
            13 => throw new LogicException('unlucky'),
            14 => NAN,
            15 => print 'printed',
            default => Party::HIGH_AND_DRY,
        },
        'echo' => fn (mixed $payload): mixed => $payload],
);

function answer(mixed $value): never
{
    header('Content-Type: application/json');
    exit(json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR));
}

/** @param Closure(): mixed $what */
function attempt(Closure $what): mixed
{
    try {
        return $what();
    } catch (Exception $error) {
        return $error::class . ': ' . $error->getMessage();
    }
}

match ($party->page()) {
    'home', 'post', 'docs', 'search', 'nested' => answer(['page' => $party->page(), 'path' => $party->path(), 'mount' => $party->mount(),
        'post' => $party->urlFor('post', ['slug' => 'é b/c'])]),
    'links' => answer(array_combine($_GET['to'] ?? [], array_map(fn (string $name): mixed => attempt(fn (): string => $party->urlFor($name, $_GET['with'] ?? [])), $_GET['to'] ?? []))),
    'many' => answer(array_map(fn (int $id): string => $party->urlFor('shop:item', ['id' => $id]), range((int) ($_GET['from'] ?? 0), (int) ($_GET['from'] ?? 0) + 49))),
    'ask' => answer([attempt(fn (): array => $party->ask('price', ['id' => 7])), $party->askFirst('price', ['id' => 7]), $party->askFirst('nobody', null, 'default'), $party->ask('nobody'),
        $party->urlsFor(['cart' => 'shop:cart', 'own' => 'home', 'nobody' => 'shop:none', 3 => ['shop:item', ['id' => 'a b']]])]),
    default => http_response_code(404),
};
