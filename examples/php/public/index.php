<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Plain PHP: urlsFor makes links to pages of applications that this one knows nothing of,
// and these to its own. php_fastcgi sends every request here; those that are Caddy's own
// end in Party::plain.

require __DIR__ . '/../../../clients/php/src/Party.php';

$pages = ['index' => '/', 'about' => '/about-php'];
$party = WsgiParty\Party::plain($pages, ['ping' => fn () => 'pong']);

$page = $party->page();
if ($page === null) {
    http_response_code(404);
    exit('No such page.');
}

$links = array_keys($pages);
foreach (['flask', 'django', 'fastapi', 'express', 'node', 'legacy', 'gopher'] as $application) {
    array_push($links, "$application:index", "$application:about");
}
?>
<!doctype html>
<title>php:<?= $page ?></title>
<h1>php:<?= $page ?></h1>
<?php foreach ($party->urlsFor(array_combine($links, $links)) as $name => $url): ?>
<?php if ($url !== null): ?>
<p><a href="<?= htmlspecialchars($url) ?>"><?= $name ?></a> is at <?= htmlspecialchars($url) ?></p>
<?php else: // not each of the others has to run ?>
<p>Where <?= $name ?> is, nobody knows.</p>
<?php endif ?>
<?php endforeach ?>
<p>Others who answer: <?= count($party->ask('ping')) ?></p>
