<?php
// An application with PHP's own sessions, which is made for the root of a site.
session_name('session');
session_start();
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/login' && $_SERVER['REQUEST_METHOD'] === 'POST') {
    session_regenerate_id();
    $_SESSION['user'] = $_POST['username'];
    header('Location: /');
} elseif ($path === '/login') {
    echo 'Log in';
} elseif ($path === '/logout') {
    session_destroy();
    header('Location: /login');
} elseif (empty($_SESSION['user'])) {
    header('Location: /login');
} else {
    header('Refresh: 60; url=/');
    echo 'Welcome, ' . $_SESSION['user'];
}
