<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The legacy application: a tool for invoices, in plain PHP, with its data in files. Take it
// for one of 40,000 lines that nobody dares to change. It knows nothing of Caddy, of a party
// or of the application that is to replace it, and its pages link to each other by paths.

$data = getenv('DATA');
session_start();
$user = $_SESSION['user'] ?? null;
session_write_close(); // or one visitor's requests wait for each other
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$post = $_SERVER['REQUEST_METHOD'] === 'POST';

function invoices(): array
{
    global $data;
    $file = fopen("$data/invoices.csv", 'r');
    flock($file, LOCK_SH);
    $invoices = [];
    while ($row = fgetcsv($file, escape: '')) {
        [$id, $date, $customer, $cents] = $row;
        $invoices[$id] = ['date' => $date, 'customer' => $customer, 'cents' => (int) $cents];
    }
    return $invoices;
}

function add_invoice(string $customer, int $cents, string $note): int
{
    global $data;
    $file = fopen("$data/invoices.csv", 'a+');
    flock($file, LOCK_EX); // until it is closed
    $id = count(file("$data/invoices.csv")) + 1;
    file_put_contents("$data/note-$id.txt", $note);
    fputcsv($file, [$id, date('Y-m-d'), $customer, $cents], escape: '');
    fclose($file);
    return $id;
}

function money(int $cents): string
{
    return number_format($cents / 100, 2) . ' €';
}

function redirect(string $to): never
{
    header("Location: $to", true, 303);
    exit;
}

if ($path === '/') {
    redirect('/invoices');
} elseif ($path === '/session' && $post) {
    session_start();
    $_SESSION['user'] = $_POST['user'] ?? '';
    redirect('/invoices');
} elseif ($path === '/new' && $post) {
    $customer = trim($_POST['customer'] ?? '');
    $cents = (int) round(100 * (float) ($_POST['amount'] ?? 0));
    redirect('/invoices/' . add_invoice($customer, $cents, $_POST['note'] ?? ''));
}

ob_start();
if ($path === '/invoices') {
    $title = 'Invoices';
    echo '<table>';
    foreach (array_slice(array_reverse(invoices(), true), 0, 50, true) as $id => $invoice) {
        echo "<tr><td><a href='/invoices/$id'>$id</a><td>{$invoice['date']}<td>", htmlspecialchars($invoice['customer']), '<td>', money($invoice['cents']);
    }
    echo '</table>';
} elseif (preg_match('~^/invoices/(\d+)$~', $path, $match) && ($invoice = invoices()[$match[1]] ?? null)) {
    $title = "Invoice $match[1]";
    $note = @file_get_contents("$data/note-$match[1].txt");
    echo "<p>{$invoice['date']}, ", htmlspecialchars($invoice['customer']), ': ', money($invoice['cents']), '</p><pre>', htmlspecialchars($note), '</pre>';
} elseif ($path === '/customers') {
    $title = 'Customers';
    foreach (array_count_values(array_column(invoices(), 'customer')) as $customer => $count) {
        echo '<p>', htmlspecialchars($customer), ": $count</p>";
    }
} elseif ($path === '/new') {
    $title = 'New';
    echo '<form method="post"><input name="customer" placeholder="Customer"> <input name="amount" placeholder="Amount">
        <textarea name="note" placeholder="Note"></textarea> <button>Save</button></form>';
} elseif ($path === '/stats') {
    $title = 'Reports';
    $sums = [];
    foreach (invoices() as $invoice) {
        $year = substr($invoice['date'], 0, 4);
        $sums[$year] = ($sums[$year] ?? 0) + $invoice['cents'];
    }
    foreach ($sums as $year => $cents) {
        echo "<p>$year: ", money($cents), '</p>';
    }
} else {
    http_response_code(404);
    $title = 'No such page';
}
$content = ob_get_clean();
?>
<!doctype html>
<title><?= $title ?></title>
<link rel="stylesheet" href="/style.css">
<nav>
<a href="/invoices">Invoices</a>
<a href="/customers">Customers</a>
<a href="/stats">Reports</a>
<a href="/new">New</a>
<form method="post" action="/session"><?= $user === null ? 'Not signed in' : 'Signed in as ' . htmlspecialchars($user) ?> <input name="user" placeholder="Name"> <button>Sign in</button></form>
</nav>
<h1><?= $title ?></h1>
<?= $content ?>

<footer>Since 2009</footer>
