<?php
// Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0
//
// A plain PHP application that links to pages of applications it knows nothing of.
// php_fastcgi sends every request here. Those that are Caddy's own end in the first
// line: it tells Caddy of the pages, and answers what others ask.

require __DIR__ . '/../../../clients/php/src/Party.php';

$pages = ['index' => '/', 'about' => '/about-php'];
$party = WsgiParty\Party::plain($pages, ['ping' => fn () => 'pong']);

$page = $party->page();
if ($page === null) {
    http_response_code(404);
    exit('No such page.');
}

$links = [];
foreach (['flask', 'django', 'node', 'legacy', 'gopher'] as $application) {
    array_push($links, "$application:index", "$application:about");
}
$urls = array_combine($links, $party->urlsFor($links)); // asked for all at once
?>
<!doctype html>
<title>php:<?= $page ?></title>
<h1>php:<?= $page ?></h1>
<?php foreach ($pages as $name => $_): ?>
<p><a href="<?= htmlspecialchars($party->urlFor($name)) ?>">php:<?= $name ?></a> is at <?= htmlspecialchars($party->urlFor($name)) ?></p>
<?php endforeach ?>
<?php foreach ($urls as $link => $url): ?>
<?php if ($url !== null): ?>
<p><a href="<?= htmlspecialchars($url) ?>"><?= $link ?></a> is at <?= htmlspecialchars($url) ?></p>
<?php else: ?>
<p>Where <?= $link ?> is, nobody knows.</p>
<?php endif ?>
<?php endforeach ?>
<p>Others who answer: <?= count($party->ask('ping')) ?></p>
