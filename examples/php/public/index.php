<?php
// Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0
//
// A plain PHP application that links to pages of applications it knows nothing of.
// php_fastcgi sends every request here; REQUEST_URI is as the visitor sent it, with
// the mount, which wsgi_party_guest says in X-Forwarded-Prefix.

const PAGES = ['index' => '/', 'about' => '/about-php'];

$mount = $_SERVER['HTTP_X_FORWARDED_PREFIX'] ?? '';
$path = substr(strtok($_SERVER['REQUEST_URI'], '?'), strlen($mount));

// The manifest. It holds no secret and does nothing, so that no token needs to be
// verified; besides, the party lets nobody come here from outside.
if ($path === '/__invite__/') {
    header('Content-Type: application/vnd.wsgi-party+json');
    echo json_encode([
        'urls' => PAGES,
        'services' => ['ping' => ['answer' => 'pong']],
    ]);
    exit;
}

/** Asks the party all at once; returns the list of answers to each question. */
function ask(array $questions): array
{
    $results = file_get_contents(getenv('WSGI_PARTY_URL'), false, stream_context_create(['http' => [
        'method' => 'POST',
        'header' => ['Authorization: Bearer ' . getenv('WSGI_PARTY_KEY'), 'Content-Type: application/json'],
        'content' => json_encode($questions),
        'timeout' => 5,
    ]]));
    return array_map(fn ($result) => $result['answers'] ?? [], json_decode($results ?: '[]', true));
}

$page = array_search($path, PAGES, true);
if ($page === false) {
    http_response_code(404);
    exit('No such page.');
}

$links = [];
foreach (['flask', 'django', 'node', 'legacy', 'gopher'] as $application) {
    array_push($links, "$application:index", "$application:about");
}
$questions = array_map(fn ($link) => ['service' => 'url', 'payload' => ['name' => $link], 'first' => true], $links);
$answers = ask([...$questions, ['service' => 'ping']]);
$pongs = array_pop($answers) ?? [];
?>
<!doctype html>
<title>php:<?= $page ?></title>
<h1>php:<?= $page ?></h1>
<?php foreach (PAGES as $name => $own): ?>
<p><a href="<?= htmlspecialchars($mount . $own) ?>">php:<?= $name ?></a> is at <?= htmlspecialchars($mount . $own) ?></p>
<?php endforeach ?>
<?php foreach ($links as $i => $link): ?>
<?php if ($url = $answers[$i][0] ?? null): ?>
<p><a href="<?= htmlspecialchars($url) ?>"><?= $link ?></a> is at <?= htmlspecialchars($url) ?></p>
<?php else: ?>
<p>Where <?= $link ?> is, nobody knows.</p>
<?php endif ?>
<?php endforeach ?>
<p>Others who answer: <?= count($pongs) ?></p>
