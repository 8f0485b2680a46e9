<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

// Where there is no autoloader, as Composer's, this file is all that has to be required.
if (!class_exists(Log::class)) {
    spl_autoload_register(static function (string $class): void {
        $file = __DIR__ . '/' . strtr(substr($class, strlen(__NAMESPACE__) + 1), '\\', '/') . '.php';
        if (str_starts_with($class, __NAMESPACE__ . '\\') && is_file($file)) {
            require $file;
        }
    });
}

/**
 * A PHP application as a guest at a party of Caddy's: it says where its pages are, answers what others ask, links to
 * their pages, and asks them. One line at the top of index.php:
 *
 *     $party = WsgiParty\Party::plain(['home' => '/', 'post' => '/posts/{slug}']);
 *
 * It needs the key that wsgi_party_guest has in the Caddyfile, in WSGI_PARTY_KEY or in the file WSGI_PARTY_KEY_FILE.
 * Without one the application is not a guest, and links to own pages only.
 */
final class Party
{
    public const VERSION = '1.0.0';
    public const MANIFEST_TYPE = 'application/vnd.wsgi-party+json';

    /** What a handler returns that has no answer. It is nothing that JSON can carry, so no answer is like it. */
    public const HIGH_AND_DRY = "\xffhigh and dry";

    /** @internal */
    public const MOUNT = '~^(?:/(?:[A-Za-z0-9._\~!$&\'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*$~D';

    private const MAX_LINKS = 256; // of an endpoint that are remembered
    private const MAX_LINK = 1 << 10; // bytes of one of them

    /** @var array<string, callable(mixed, Party): mixed> */
    private array $services = [];
    /** @var array<string, true> services whose asks do not come in lists */
    private array $alone = [];
    private Log $logger;
    private Keys $keys;
    private Memory $memory;
    private Caddy $caddy;
    private string $guest;

    // Of the request that is being handled:
    /** @var array<mixed> */
    private array $server = [];
    private string $mount = '';
    private ?Token $token = null;
    /** @var ?array{payload: mixed, token: string, traceparent: string} which of the asks of a batch it is */
    private ?array $ask = null;
    private ?string $endpoint = null;
    /** @var array<string, ?string> URLs by the questions for them, in JSON */
    private array $links = [];
    /** @var array<string, true> questions for what the page has used */
    private array $used = [];

    /**
     * @param array<string, string>|\Closure(): array{array<string, string>, array<string, string>} $pages
     *     names of pages, and their paths below the mount as URL templates (RFC 6570); or what returns these, and the
     *     names of pages that have none, and why
     * @param array<string, callable(mixed, Party): mixed> $services as service() has them
     * @param ?string $key     the key, else WSGI_PARTY_KEY. Of several with white space between them the first one asks,
     *     and all are accepted
     * @param ?string $keyFile a file with the same in it, else WSGI_PARTY_KEY_FILE. Caddy may write it later
     * @param ?string $url     where Caddy is asked, else WSGI_PARTY_URL, else what Caddy itself says
     * @param ?string $guest   the guest that tokens have to be for, else WSGI_PARTY_GUEST, else whichever has the key
     * @param ?string $missingLink what urlFor() returns for a page that nobody has, rather than throw
     * @param float   $timeout seconds that asking takes at most. (Looking up the name of a host may take longer.)
     * @param ?\Closure(string, string): mixed $log is called with level and message, else error_log
     * @param ?\Closure(string, array<mixed>): ?string $own makes the URLs of own pages, if not $pages does
     *
     * @throws \InvalidArgumentException if the settings are unusable
     */
    public function __construct(
        private array|\Closure $pages = [],
        array $services = [],
        #[\SensitiveParameter] ?string $key = null,
        ?string $keyFile = null,
        ?string $url = null,
        ?string $guest = null,
        private ?string $missingLink = null,
        float $timeout = 5.0,
        ?\Closure $log = null,
        private ?\Closure $own = null,
    ) {
        $this->logger = new Log($log);
        $this->keys = new Keys($key, $keyFile, $this->logger);
        $this->memory = new Memory($this->keys);
        $this->caddy = new Caddy($this->keys, $this->memory, $this->logger, $url ?? Keys::setting('WSGI_PARTY_URL'), $timeout);
        $this->guest = $guest ?? Keys::setting('WSGI_PARTY_GUEST');
        foreach ($services as $name => $handler) {
            $this->service((string) $name, $handler);
        }
    }

    /**
     * Makes the party of a plain application, and joins. With other options it is `(new Party(…))->join()`.
     *
     * @param array<string, string> $pages
     * @param array<string, callable(mixed, Party): mixed> $services
     */
    public static function plain(array $pages = [], array $services = []): self
    {
        return (new self($pages, $services))->join();
    }

    /**
     * Adds a service, before join(), that the others may ask for.
     *
     * @param callable(mixed, Party): mixed $handler gets the payload, in which objects are arrays, and this party, to
     *     ask in turn. It returns what JSON can carry, or HIGH_AND_DRY if it has no answer. An exception goes to the log,
     *     and nowhere else
     * @param bool $batch whether Caddy may ask for up to 64 answers by one request, in which they are made one after the
     *     other
     */
    public function service(string $name, callable $handler, bool $batch = true): self
    {
        if (!Manifest::isName($name)) {
            throw new \InvalidArgumentException('the name of a service has 1 to 64 letters, digits and . _ : -, unlike ' . Log::quote($name));
        }
        $this->services[$name] = $handler;
        if (!$batch) {
            $this->alone[$name] = true;
        }
        return $this;
    }

    /** Answers the request and ends the script if it is Caddy's own, else does nothing. */
    public function join(): self
    {
        $answer = $this->handle($_SERVER, static fn (): string => (string) file_get_contents('php://input', false, null, 0, Batch::MAX_BODY + 1));
        if ($answer === null) {
            return $this;
        }
        while (ob_get_level() > 0 && @ob_end_clean());
        [$status, $headers, $body] = $answer;
        http_response_code($status);
        header_remove('Set-Cookie'); // of a session that was started by itself
        foreach ($headers as $name => $value) {
            header("$name: $value");
        }
        echo $body;
        exit;
    }

    /**
     * Begins with a request. If it is Caddy's own, the answer is returned, else null: then it is the application's.
     *
     * @param array<mixed> $server as $_SERVER
     * @param callable(): string $body reads the body, of which no more is needed than 1 MiB, 16 KiB and a byte
     *
     * @return ?array{int, array<string, string>, string} status, headers and body
     */
    public function handle(array $server, callable $body): ?array
    {
        $this->begin($server);
        $token = $this->header('PARTY_TOKEN');
        if ($token === '' && $this->header('ACCEPT') !== self::MANIFEST_TYPE || !$this->isGuest()) {
            return null;
        }
        $path = $this->requestPath();
        $isAsk = $this->method() === 'POST' && preg_match('~/partyline/([A-Za-z0-9._:-]{1,64})$~D', $path, $service) === 1;
        $isInvite = $this->method() === 'GET' && $this->header('ACCEPT') === self::MANIFEST_TYPE;
        if ($token === '') {
            if ($isInvite) {
                $this->logger->warnOnce('unsigned', 'the invite to ' . Log::quote($path) . ' has no Party-Token and is left to the application: there is a key here, but none in the Caddyfile. Write it in wsgi_party_guest there');
            }
            return null;
        }
        try {
            $this->token = Token::parse($token, $this->keys, $this->guest);
            if (!$isAsk && !$isInvite) {
                return null;
            }
            $text = (int) ($server['CONTENT_LENGTH'] ?? 0) > Batch::MAX_BODY ? null : $body();
            if ($text === null || strlen($text) > Batch::MAX_BODY) {
                return self::status(413);
            }
            $this->token->verify($this->method(), (string) ($server['REQUEST_URI'] ?? ''), $text);
        } catch (\DomainException $error) {
            $this->token = null;
            if (!$isAsk && !$isInvite) {
                return null; // is the application's to verify
            }
            $this->logger->warnOnce('token: ' . $error->getMessage(), 'the Party-Token at ' . Log::quote($path) . ' is refused: ' . $error->getMessage());
            // Not 404: Caddy would take that for "no guest here", and say nothing about keys that differ.
            return self::status(401, ['WWW-Authenticate' => 'Party-Token']);
        }
        return $isAsk ? $this->answer($service[1], $text) : $this->invited(rtrim($this->token->pathBelowMount(), '/'));
    }

    /** Whether there is a key, or a file in which it will be. */
    public function isGuest(): bool
    {
        return $this->keys->areExpected();
    }

    /** Returns where visitors see this application, as a path, escaped, without a last slash: "/blog"; "" is the root. */
    public function mount(): string
    {
        return $this->mount;
    }

    /** Returns the path of the request below the mount, escaped as it came. */
    public function path(): string
    {
        $path = $this->requestPath();
        // What Caddy hands to PHP itself, by php_fastcgi or as FrankenPHP, has the URI of the visitor, and is compared
        // as Caddy does. Any other server got it without the mount: what is like the mount there is an own page.
        $isWhole = preg_match('~^(?:Caddy|FrankenPHP)\b~', (string) ($this->server['SERVER_SOFTWARE'] ?? '')) === 1;
        for ($mount = $this->mount; $isWhole && $mount !== ''; $mount = (string) preg_replace('~^/[^/]*~', '', $mount)) {
            $depth = substr_count($mount, '/');
            $segments = explode('/', $path, $depth + 2);
            if (strcasecmp(rawurldecode(implode('/', array_slice($segments, 0, $depth + 1))), rawurldecode($mount)) === 0) {
                return '/' . ($segments[$depth + 1] ?? '');
            }
        }
        return $path === '' ? '/' : $path;
    }

    /** Returns the name of the first own page to whose template the path of the request belongs, or null. */
    public function page(): ?string
    {
        $path = $this->path();
        foreach (is_array($this->pages) ? $this->pages : [] as $name => $template) {
            if ((new Template($template))->matches($path)) {
                return (string) $name;
            }
        }
        return null;
    }

    /**
     * Says what makes the page, such as a route: at the first link to others' pages, all that it linked to the last
     * time are asked for at once. Without this, it is page(), or the script.
     */
    public function endpoint(string $name): void
    {
        $this->endpoint = $name;
    }

    /**
     * Returns the URL of a page: of an own one, "post", or of another application's, "shop:cart".
     *
     * @param array<mixed> $values for the variables of its template
     *
     * @throws \OutOfBoundsException     if nobody has that page, and there is no `missingLink`
     * @throws \InvalidArgumentException if the values are nothing for a URL, or an own page lacks one, or has no template
     */
    public function urlFor(string $name, array $values = []): string
    {
        return $this->urlsFor([[$name, $values]])[0] ?? $this->missingLink ?? throw new \OutOfBoundsException(
            'nobody has the page ' . Log::quote($name) . ($this->caddy->why() === '' ? '' : ', or nobody was asked: ' . $this->caddy->why()),
        );
    }

    /**
     * Returns URLs as urlFor() does, but asks for all others' pages at once. A page that nobody has is null.
     *
     * @template K of array-key
     * @param array<K, string|array{0: string, 1?: array<mixed>}> $links names, or pairs of a name and values
     * @return array<K, ?string>
     */
    public function urlsFor(array $links): array
    {
        $urls = $questions = [];
        foreach ($links as $key => $link) {
            [$name, $values] = (array) $link + [1 => []];
            $urls[$key] = $this->ownUrl($name, $values);
            if ($urls[$key] === null) {
                $questions[$key] = Json::payload('the link to ' . Log::quote($name), ['name' => $name, 'values' => (object) Template::textual($values)]);
            }
        }
        return array_replace($urls, $questions === [] ? [] : $this->find($questions));
    }

    /**
     * Asks everybody else, and returns the list of their answers, in which objects are arrays. What failed is in the log.
     *
     * @param ?string $guest the only one to ask
     *
     * @return list<mixed>
     *
     * @throws \InvalidArgumentException if JSON cannot carry the payload, or the guest's name is empty
     */
    public function ask(string $service, mixed $payload = null, ?string $guest = null): array
    {
        return $this->question($service, $payload, false, $guest);
    }

    /** Asks the others, or only that guest, until one answers, and returns the answer, or the default if nobody does. */
    public function askFirst(string $service, mixed $payload = null, mixed $default = null, ?string $guest = null): mixed
    {
        $answers = $this->question($service, $payload, true, $guest);
        return $answers === [] ? $default : $answers[0];
    }

    /** Returns what is said of the manifest in the log when Caddy has got a new one: how much is in it, and what is not, and why. */
    public function report(): string
    {
        return $this->manifest('/__invite__')->report;
    }

    /** Learns, before the next request, which links this page used. */
    public function __destruct()
    {
        $this->learn();
    }

    /** @return array<string, mixed> what var_dump and error pages may show */
    public function __debugInfo(): array
    {
        return ['guest' => $this->guest, 'isGuest' => $this->isGuest(), 'services' => array_keys($this->services), 'mount' => $this->mount];
    }

    /** @param array<mixed> $server */
    private function begin(array $server): void
    {
        $this->learn();
        [$this->server, $this->token, $this->ask, $this->endpoint, $this->links] = [$server, null, null, null, []];
        $prefix = $this->header('X_FORWARDED_PREFIX');
        $this->mount = preg_match(self::MOUNT, $prefix) ? $prefix : '';
    }

    private function header(string $name): string
    {
        $value = $this->server["HTTP_$name"] ?? '';
        return is_string($value) ? $value : '';
    }

    private function method(): string
    {
        return (string) ($this->server['REQUEST_METHOD'] ?? '');
    }

    private function requestPath(): string
    {
        return explode('?', (string) ($this->server['REQUEST_URI'] ?? ''), 2)[0];
    }

    /** @return array{int, array<string, string>, string} */
    private function invited(string $path): array
    {
        $manifest = $this->manifest($path);
        $headers = ['ETag' => '"' . substr(hash('sha256', $manifest->json), 0, 32) . '"', 'Cache-Control' => 'max-age=60'];
        if (str_contains($this->header('IF_NONE_MATCH'), $headers['ETag'])) {
            return [304, $headers, ''];
        }
        $this->logger->say('info', $manifest->report);
        return [200, $headers + ['Content-Type' => self::MANIFEST_TYPE], $manifest->json];
    }

    /** @return array{int, array<string, string>, string} */
    private function answer(string $service, string $body): array
    {
        if (!isset($this->services[$service])) {
            return self::status(404); // then Caddy asks for the manifest again
        }
        $isAlone = isset($this->alone[$service]);
        try {
            $asks = $isAlone ? [['payload' => Json::decode($body)]] : Batch::asks($body);
        } catch (\JsonException | \UnexpectedValueException) {
            return self::status(400);
        }
        $outcomes = [];
        foreach ($asks as $ask) {
            $this->ask = $isAlone ? null : $ask;
            $this->links = []; // an answer may depend on what has led to the ask
            $outcomes[] = $this->outcome($service, $ask['payload']);
        }
        $this->ask = null;
        if (!$isAlone) {
            $this->token = null; // which led to none of these
        }
        $headers = ['Content-Type' => 'application/json', 'Cache-Control' => 'no-store'];
        if (!$isAlone) {
            return [200, $headers, '[' . implode(',', array_map(Batch::element(...), $outcomes)) . ']'];
        }
        [$status, $text] = $outcomes[0];
        return match ($status) {
            200 => [200, $headers, $text],
            204 => [204, [], ''],
            default => self::status($status),
        };
    }

    /** @return array{int, string} the status of an ask, and its answer in JSON, or what others may know of its failure */
    private function outcome(string $service, mixed $payload): array
    {
        ob_start(); // what a handler prints is no part of its answer
        try {
            $answer = ($this->services[$service])($payload, $this);
            return $answer === self::HIGH_AND_DRY ? [204, ''] : [200, Json::encode('the answer', $answer)];
        } catch (\Throwable $error) {
            $this->logger->say('error', "the service $service failed: " . $error::class . ': ' . $error->getMessage() . " in {$error->getFile()}:{$error->getLine()}");
            return [500, 'the handler failed, or its answer cannot be JSON: see its log'];
        } finally {
            ob_end_clean();
        }
    }

    /**
     * @param array<string, string> $headers
     * @return array{int, array<string, string>, string}
     */
    private static function status(int $status, array $headers = []): array
    {
        return [$status, $headers + ['Content-Type' => 'text/plain'], "$status\n"];
    }

    private function manifest(string $invite): Manifest
    {
        [$pages, $leftOut] = is_array($this->pages) ? [$this->pages, []] : ($this->pages)();
        return new Manifest($invite, $pages, array_keys($this->services), $this->alone, $leftOut);
    }

    /** @param array<mixed> $values */
    private function ownUrl(string $name, array $values): ?string
    {
        if ($this->own !== null) {
            return ($this->own)($name, $values);
        }
        $template = is_array($this->pages) ? $this->pages[$name] ?? null : null;
        try {
            return $template === null ? null : $this->mount . (new Template($template))->expand($values);
        } catch (\InvalidArgumentException $error) {
            throw new \InvalidArgumentException('the page ' . Log::quote($name) . ": {$error->getMessage()}", 0, $error);
        }
    }

    /**
     * @template K of array-key
     * @param array<K, string> $questions for URLs, in JSON
     * @return array<K, ?string>
     */
    private function find(array $questions): array
    {
        $new = array_values(array_unique(array_filter($questions, fn (string $question): bool => !array_key_exists($question, $this->links))));
        if ($new !== [] && $this->links === [] && $this->isGuest()) {
            $known = $this->memory->recall('links of ' . ($this->endpoint ??= $this->page() ?? (string) ($this->server['SCRIPT_NAME'] ?? '')));
            $new = array_slice(array_unique([...$new, ...(is_array($known) ? $known : [])]), 0, max(count($new), self::MAX_LINKS));
        }
        foreach ($this->questions(array_map(static fn (string $question): array => ['url', $question, true], $new)) as $i => $answers) {
            $url = $answers[0] ?? null;
            $isUrl = is_string($url) && preg_match('~^(?:/(?![/\\\\])|https?://[^/?#@]+(?:[/?#]|$))[^\x00-\x20\x7f"<>\\\\^`{|}]*$~Di', $url);
            $this->links[$new[$i]] = $isUrl ? $url : null;
        }
        $this->used += array_fill_keys($questions, true);
        return array_map(fn (string $question): ?string => $this->links[$question], $questions);
    }

    private function learn(): void
    {
        $links = array_filter(array_keys($this->used), static fn (string $link): bool => strlen($link) <= self::MAX_LINK);
        if ($links !== [] && $this->isGuest()) {
            $this->memory->keep("links of $this->endpoint", array_slice($links, 0, self::MAX_LINKS));
        }
        $this->used = [];
    }

    /** @return list<mixed> */
    private function question(string $service, mixed $payload, bool $first, ?string $guest): array
    {
        if ($guest === '') {
            throw new \InvalidArgumentException("the guest's name is empty: write a name, or leave it out to ask everybody");
        }
        return $this->questions([[$service, Json::payload('the payload for ' . Log::quote($service), $payload), $first, $guest]])[0];
    }

    /**
     * @param list<array{string, string, bool, 3?: ?string}> $questions
     * @return list<list<mixed>>
     */
    private function questions(array $questions): array
    {
        $headers = [];
        $token = $this->ask === null ? (string) $this->token?->text : $this->ask['token'];
        if ($token !== '' && $this->token?->isGood()) {
            $headers['Party-Token'] = $token;
        }
        if (($this->ask['traceparent'] ?? '') !== '') {
            $headers['traceparent'] = $this->ask['traceparent'];
        }
        if ($this->mount !== '') {
            $headers['X-Forwarded-Prefix'] = $this->mount;
        }
        if ($this->header('CDN_LOOP') !== '') { // ends a loop over several Caddys
            $headers['CDN-Loop'] = (string) preg_replace('/[^ -~]/', '?', $this->header('CDN_LOOP'));
        }
        return $this->caddy->ask($questions, $this->header('PARTY_ASK'), $headers);
    }
}
