<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

use PHPUnit\Framework\TestCase;
use WsgiParty\Json;
use WsgiParty\Keys;
use WsgiParty\Log;
use WsgiParty\Memory;
use WsgiParty\Party;

require_once __DIR__ . '/../src/Party.php';

/** What needs neither Caddy nor a server. */
final class PartyTest extends TestCase
{
    private const KEY = '0123456789abcdef0123456789abcdef';
    private const OTHER = 'fedcba9876543210fedcba9876543210';

    protected function setUp(): void
    {
        foreach (['KEY', 'KEY_FILE', 'URL', 'GUEST'] as $name) {
            putenv("WSGI_PARTY_$name");
            unset($_SERVER["WSGI_PARTY_$name"], $_ENV["WSGI_PARTY_$name"]);
        }
    }

    /** @param array<string, mixed> $claims */
    private static function token(string $key, array $claims = []): string
    {
        $claims += ['aud' => 'blog', 'iat' => time(), 'exp' => time() + 60, 'jti' => 'x', 'htm' => 'GET', 'htu' => '/blog/__invite__/', 'bsh' => Keys::base64url(hash('sha256', '', true)), 'mnt' => '/blog', 'path' => []];
        $text = Keys::base64url('{"alg":"HS256","typ":"JWT"}') . '.' . Keys::base64url(json_encode($claims, JSON_THROW_ON_ERROR));
        return "$text." . Keys::base64url(hash_hmac('sha256', $text, $key, true));
    }

    /** @return array<string, string> */
    private static function invite(string $key = self::KEY, string $uri = '/__invite__/'): array
    {
        return ['REQUEST_METHOD' => 'GET', 'REQUEST_URI' => $uri, 'HTTP_ACCEPT' => Party::MANIFEST_TYPE, 'HTTP_PARTY_TOKEN' => self::token($key)];
    }

    private static function status(Party $party, array $server): int
    {
        return $party->handle($server, static fn (): string => '')[0] ?? 0;
    }

    public function testSettings(): void
    {
        $this->assertFalse((new Party())->isGuest());
        $_SERVER['WSGI_PARTY_KEY'] = self::KEY . "\n" . self::OTHER . ' ';
        $party = new Party(log: static fn () => null);
        $this->assertTrue($party->isGuest());
        $this->assertSame(200, self::status($party, self::invite()));
        $this->assertSame(200, self::status($party, self::invite(self::OTHER)));
        $this->assertSame(401, self::status(new Party(key: self::OTHER, log: static fn () => null), self::invite()));
        $this->assertFalse((new Party(key: ''))->isGuest());
        $this->assertSame(401, self::status(new Party(guest: 'shop', log: static fn () => null), self::invite()));
        $_SERVER['WSGI_PARTY_GUEST'] = 'shop';
        $this->assertSame(401, self::status(new Party(log: static fn () => null), self::invite()));
    }

    /** @dataProvider unusable */
    public function testUnusableSettings(array $settings, string $message): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage($message);
        new Party(...$settings);
    }

    public static function unusable(): iterable
    {
        yield [['key' => 'secret'], 'a key in WSGI_PARTY_KEY has 6 bytes, but needs 32 or more'];
        yield [['key' => self::KEY . ' short'], 'has 5 bytes'];
        yield [['key' => self::KEY . "\x07"], 'without control characters'];
        yield [['url' => 'http://127.0.0.1:2080/'], 'there is a WSGI_PARTY_URL to ask at, but no WSGI_PARTY_KEY'];
        foreach (['127.0.0.1:2080', '/run/party.sock', 'ftp://a/', 'http://', 'http://a b/', 'http://a/?b', 'http://a/#b', "http://a/\r\nX: y", 'http://u:p@a/', 'unix/run', 'http://a:999999/'] as $url) {
            yield $url => [['key' => self::KEY, 'url' => $url], 'neither http://host:port/ nor unix//path'];
        }
        yield [['services' => ['no name' => 'strlen']], 'the name of a service has 1 to 64 letters'];
    }

    public function testTheKeyIsNotShown(): void
    {
        $party = new Party(key: self::KEY);
        ob_start();
        var_dump($party);
        print_r($party);
        $shown = (string) ob_get_clean();
        foreach ([[self::KEY, 'nowhere'], [substr(self::KEY, 0, 31), '']] as [$key, $url]) {
            try {
                new Party(key: $key, url: $url);
                $this->fail();
            } catch (InvalidArgumentException $error) {
                $shown .= $error->getMessage();
                if (PHP_VERSION_ID >= 80200) { // earlier ones have no SensitiveParameter
                    $shown .= print_r(array_filter($error->getTrace(), static fn (array $call): bool => str_starts_with($call['class'] ?? '', 'WsgiParty')), true);
                }
            }
        }
        $this->assertFalse(str_contains($shown, substr(self::KEY, 0, 12)));
    }

    public function testAKeyFileMayComeLaterAndChange(): void
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'key');
        unlink($file);
        $logged = [];
        $party = new Party(keyFile: $file, log: static function (string $level, string $message) use (&$logged): void {
            $logged[] = $message;
        });
        try {
            $this->assertTrue($party->isGuest());
            $this->assertSame(401, self::status($party, self::invite()));
            $this->assertStringContainsString("$file, the file of the key, does not exist yet", $logged[0]);
            do { // again where the machine was so busy that it took a second
                usleep(1_050_000);
                $began = microtime(true);
                file_put_contents($file, self::KEY . "\n");
                $right = self::status($party, self::invite());
                file_put_contents($file, self::OTHER);
                $still = self::status($party, self::invite());
                $other = self::status($party, self::invite(self::OTHER));
            } while (microtime(true) - $began > 0.9);
            $this->assertSame(200, $right);
            $this->assertSame(200, $still, 'a key that is still right is not read again');
            $this->assertSame(401, $other, 'nor is one within a second');
            usleep(1_050_000);
            $this->assertSame(200, self::status($party, self::invite(self::OTHER)));
            $this->assertSame(401, self::status($party, self::invite()));
            file_put_contents($file, 'short');
            usleep(1_050_000);
            $this->assertSame(401, self::status($party, self::invite()));
            $this->assertSame(200, self::status($party, self::invite(self::OTHER)), 'an unusable file leaves the keys as they were');
            $this->assertStringContainsString("a key in $file has 5 bytes", implode("\n", $logged));
        } finally {
            unlink($file);
        }
    }

    /** @dataProvider paths */
    public function testPath(string $uri, string $mount, string $software, string $path, string $uses): void
    {
        $party = new Party();
        $party->handle(['REQUEST_METHOD' => 'GET', 'REQUEST_URI' => $uri, 'HTTP_X_FORWARDED_PREFIX' => $mount, 'SERVER_SOFTWARE' => $software], static fn (): string => '');
        $this->assertSame($path, $party->path());
        $this->assertSame($uses, $party->mount());
    }

    public static function paths(): iterable
    {
        yield ['/blog/a?b=/c', '/blog', 'Caddy/v2.11', '/a', '/blog'];
        yield ['/blog/', '/blog', 'Caddy', '/', '/blog'];
        yield ['/blog', '/blog', 'FrankenPHP', '/', '/blog'];
        yield ['/blog/blog/a', '/blog', 'Caddy/v2.11', '/blog/a', '/blog'];
        yield ['/blog/a', '/blog', 'nginx/1.22', '/blog/a', '/blog'];
        yield ['/blogs/a', '/blog', 'Caddy/v2.11', '/blogs/a', '/blog'];
        yield ['/%62LOG/a%2Fb', '/blog', 'Caddy/v2.11', '/a%2Fb', '/blog'];
        yield ['/s%20p/%C3%A9/x', '/s%20p/%C3%A9', 'Caddy/v2.11', '/x', '/s%20p/%C3%A9'];
        yield ['/blog/a', '/outer/blog', 'Caddy/v2.11', '/a', '/outer/blog']; // an ingress has taken off the first
        yield ['/outer/blog/a', '/outer/blog', 'Caddy/v2.11', '/a', '/outer/blog'];
        foreach (['//evil.example', '/a//b', 'evil', '/a/', '/a?b', '/"><script>', "/a\r\nb", '/%', '/a b'] as $mount) {
            yield ['/a', $mount, 'Caddy/v2.11', '/a', ''];
        }
        yield ['', '', '', '/', ''];
    }

    public function testPage(): void
    {
        $party = new Party(['home' => '/', 'new' => '/posts/new', 'post' => '/posts/{slug}', 'docs' => '/docs{/path*}', 'search' => '/search{?q}', 'list' => '/list?sort=up{&page}', 'umlaut' => '/über/{x}']);
        foreach (['/' => 'home', '/posts/new' => 'new', '/posts/%6Eew' => 'new', '/posts/x%2Fy' => 'post', '/posts/' => null, '/posts/a/b' => null, '/docs/a/b' => 'docs', '/docs' => null, '/search?q=a' => 'search', '/list' => 'list', '/%C3%BCber/a' => 'umlaut', '/x' => null] as $uri => $page) {
            $party->handle(['REQUEST_METHOD' => 'GET', 'REQUEST_URI' => $uri], static fn (): string => '');
            $this->assertSame($page, $party->page(), $uri);
        }
    }

    public function testManifest(): void
    {
        $pages = ['home' => '/', 'post' => '/posts/{slug}'];
        $party = new Party($pages, ['ping' => 'strval'], key: self::KEY, log: static fn () => null);
        [$status, $headers, $body] = $party->handle(self::invite(uri: '/blog/__invite__/'), static fn (): string => '');
        $this->assertSame([200, Party::MANIFEST_TYPE, '{"services":{"ping":{"href":"/__invite__/partyline/ping","batch":true}},"urls":{"home":"/","post":"/posts/{slug}"}}'], [$status, $headers['Content-Type'], $body]);
        $this->assertSame(304, self::status($party, self::invite() + ['HTTP_IF_NONE_MATCH' => 'W/' . $headers['ETag']]));
        $this->assertSame(200, self::status($party, self::invite() + ['HTTP_IF_NONE_MATCH' => '"x"']));
        $this->assertSame('{}', (new Party(key: self::KEY, log: static fn () => null))->handle(self::invite(), static fn (): string => '')[2]);

        $many = [];
        for ($i = 0; $i < 5000; $i++) {
            $many["p$i"] = '/';
        }
        $party = new Party($many, array_fill_keys(array_map(static fn (int $i): string => "s$i", range(1, 300)), 'strval'), key: self::KEY, log: static fn () => null);
        $manifest = json_decode($body = $party->handle(self::invite(), static fn (): string => '')[2], true);
        $this->assertLessThanOrEqual(1 << 16, strlen($body));
        $this->assertCount(256, $manifest['services']);
        $this->assertMatchesRegularExpression('/^Caddy is told of \d+ pages and 256 services, but not of "s257" \(there are more than 256\), .* and \d+ more$/', $party->report());
        $party = new Party(array_fill_keys(range(1, 5000), '/'), key: self::KEY, log: static fn () => null);
        $this->assertStringContainsString('Caddy is told of 4096 pages and 0 services, but not of "4097" (there are more than 4096), ', $party->report());
        $party = new Party(['a' => '/' . str_repeat('a', 1 << 16), 'b' => '/b'], key: self::KEY);
        $this->assertSame('Caddy is told of 1 page and 0 services, but not of "a" (a manifest has at most 65536 bytes)', $party->report());
    }

    public function testServices(): void
    {
        $party = new Party([], ['same' => static fn (mixed $payload): mixed => $payload, 'none' => static fn (): string => Party::HIGH_AND_DRY, 'deep' => static fn (): array => ['a' => fopen('php://memory', 'r')]], key: self::KEY, log: static fn () => null);
        $ask = static function (string $service, string $payload) use ($party): array {
            [$status, $headers, $answer] = self::ask($party, $service, "[{\"payload\":$payload}]");
            $element = $status === 200 ? json_decode($answer, true)[0] : [];
            return match (array_key_first($element)) {
                'answer' => [200, $headers, substr($answer, strlen('[{"answer":'), -strlen('}]'))],
                'declined' => [204, $headers, ''],
                'error' => [500, $headers, $element['error']],
                default => [$status, $headers, $answer],
            };
        };
        foreach (['null', '7', '0.5', '1.0', '"é/\u0000"', '[]', '{"a":[1,{"b":null}]}', '"12345678901234567890123"'] as $json) {
            [$status, $headers, $answer] = $ask('same', $json);
            $this->assertSame([200, 'application/json'], [$status, $headers['Content-Type']]);
            $this->assertSame(json_decode($json, true), json_decode($answer, true), $json);
        }
        $this->assertSame('"12345678901234567890123"', $ask('same', '12345678901234567890123')[2], 'digits are kept');
        $this->assertSame(204, $ask('none', 'null')[0]);
        $this->assertSame(404, $ask('other', 'null')[0]);
        $this->assertSame(500, $ask('deep', 'null')[0]);
        foreach (['', '{', 'NaN', "\"\xff\"", '"\ud800"', str_repeat('[', 100) . str_repeat(']', 100)] as $json) {
            $this->assertSame(400, $ask('same', $json)[0], $json);
        }
    }

    /** @return array{int, array<string, string>, string} */
    private static function ask(Party $party, string $service, string $body, array $claims = []): array
    {
        $claims += ['htm' => 'POST', 'htu' => "/blog/__invite__/partyline/$service", 'bsh' => Keys::base64url(hash('sha256', $body, true))];
        return $party->handle(['REQUEST_METHOD' => 'POST', 'REQUEST_URI' => "/__invite__/partyline/$service", 'HTTP_PARTY_TOKEN' => self::token(self::KEY, $claims)], static fn (): string => $body) ?? [0];
    }

    public function testSeveralAsksInOneRequest(): void
    {
        $calls = 0;
        $logged = [];
        $some = static function (mixed $payload) use (&$calls): mixed {
            $calls++;
            return match ($payload) {
                'none' => Party::HIGH_AND_DRY,
                'fail' => throw new LogicException('the password is swordfish'),
                'uncarried' => NAN,
                'print' => print 'printed',
                default => $payload,
            };
        };
        $party = new Party([], ['some' => $some], key: self::KEY, log: static function (string $level, string $message) use (&$logged): void {
            $logged[] = $message;
        });
        $party->service('alone', $some, batch: false);
        $batch = static fn (string ...$payloads): string => '[' . implode(',', array_map(static fn (string $payload): string => "{\"payload\":$payload}", $payloads)) . ']';

        $failed = ['error' => 'the handler failed, or its answer cannot be JSON: see its log'];
        [$status, $headers, $body] = self::ask($party, 'some', $batch('"a"', '"none"', '"fail"', '{"b":[1.0]}', '"uncarried"', 'null', '"print"'));
        $this->assertSame([200, 'application/json'], [$status, $headers['Content-Type']]);
        $this->assertSame([['answer' => 'a'], ['declined' => true], $failed, ['answer' => ['b' => [1.0]]], $failed, ['answer' => null], ['answer' => 1]], json_decode($body, true));
        $this->assertCount(2, $logged);
        $this->assertStringContainsString('swordfish', $logged[0]);
        $deep = str_repeat('[', 64) . str_repeat(']', 64);
        $this->assertSame("[{\"answer\":$deep}]", self::ask($party, 'some', $batch($deep))[2]);
        $this->assertSame(array_map(static fn (int $n): array => ['answer' => $n], range(1, 64)), json_decode(self::ask($party, 'some', $batch(...array_map(strval(...), range(1, 64))))[2], true));

        $calls = 0;
        foreach (['', '[', 'null', '7', '{"payload":1}', '{"0":{"payload":1}}', '[]', '[1]', '[null]', '[{}]', '[[]]', '[{"token":"x"}]', '[{"payload":1,"token":1}]', '[{"payload":1,"traceparent":null}]', '[{"payload":NaN}]', '[{"payload":1},[]]', $batch(...array_fill(0, 65, '1')), $batch("[$deep]")] as $body) {
            $this->assertSame(400, self::ask($party, 'some', $body)[0], substr($body, 0, 30));
        }
        $this->assertSame(401, self::ask($party, 'some', $batch('1'), ['bsh' => 'x'])[0]);
        $this->assertSame([413, 0], [self::ask($party, 'some', str_repeat(' ', (1 << 20) + (1 << 14)) . $batch('1'))[0], $calls]);

        $services = json_decode($party->handle(self::invite(), static fn (): string => '')[2], true)['services'];
        $this->assertSame([['href' => '/__invite__/partyline/some', 'batch' => true], ['href' => '/__invite__/partyline/alone']], [$services['some'], $services['alone']]);
        foreach (['"a"' => [200, '"a"'], '[{"payload":1}]' => [200, '[{"payload":1}]'], '"none"' => [204, ''], '"fail"' => [500, "500\n"], '' => [400, "400\n"]] as $payload => $want) {
            [$status, , $body] = self::ask($party, 'alone', $payload);
            $this->assertSame($want, [$status, $body], $payload);
        }
    }

    public function testWhatJsonCannotCarry(): void
    {
        $party = new Party(key: self::KEY, url: 'http://127.0.0.1:1/', log: static fn () => null);
        foreach ([NAN, "\xff", ["a\0" => 1], [fopen('php://memory', 'r')], str_repeat('a', 1 << 20), array_reduce(range(1, 100), static fn (array $inner): array => [$inner], [])] as $payload) {
            try {
                $party->ask('ping', $payload);
                $this->fail();
            } catch (InvalidArgumentException $error) {
                $this->assertStringContainsString('the payload for "ping"', $error->getMessage());
            }
        }
        $this->assertSame([], $party->ask('ping', "\0"));
        foreach (["\xff", new ArrayObject(), NAN, [[1]]] as $value) {
            try {
                $party->urlFor('shop:item', ['id' => $value]);
                $this->fail();
            } catch (InvalidArgumentException $error) {
                $this->assertStringContainsString('the value of "id"', $error->getMessage());
            }
        }
        $this->assertSame('{"a":1}', Json::encode('it', ['a' => 1]));
    }

    public function testTheMemoryIsTheGuestsOwn(): void
    {
        $log = new Log(static fn () => null);
        $memory = new Memory(new Keys(self::KEY, null, $log));
        $memory->keep('a', ['b' => 1.5]);
        $this->assertSame(['b' => 1.5], $memory->recall('a'));
        $this->assertNull($memory->recall('b'));
        $this->assertNull((new Memory(new Keys(self::OTHER, null, $log)))->recall('a'));
        $kept = new ReflectionProperty(Memory::class, 'kept');
        $kept->setValue(null, array_map(static fn (string $sealed): string => strtr($sealed, '1', '2'), $kept->getValue()));
        $this->assertNull($memory->recall('a'));
        for ($i = 0; $i < 2000; $i++) {
            $memory->keep("n$i", $i);
        }
        $this->assertCount(1024, $kept->getValue());
        $this->assertSame([null, 1999], [$memory->recall('n0'), $memory->recall('n1999')]);
        $memory->forget('n1999');
        $this->assertNull($memory->recall('n1999'));
    }
}
