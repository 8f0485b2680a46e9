<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

use PHPUnit\Framework\TestCase;
use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\RequestStack;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Controller\ArgumentResolver;
use Symfony\Component\HttpKernel\Controller\ControllerResolver;
use Symfony\Component\HttpKernel\EventListener\RouterListener;
use Symfony\Component\HttpKernel\HttpKernel;
use Symfony\Component\HttpKernel\HttpKernelInterface;
use Symfony\Component\Routing\Exception\RouteNotFoundException;
use Symfony\Component\Routing\Generator\UrlGenerator;
use Symfony\Component\Routing\Loader\ClosureLoader;
use Symfony\Component\Routing\Matcher\UrlMatcher;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;
use Symfony\Component\Routing\Router;
use WsgiParty\Symfony\PartyRouter;
use WsgiParty\Symfony\Routes;
use WsgiParty\Template;

require_once 'Symfony/Component/HttpKernel/autoload.php';
require_once 'Symfony/Component/Routing/autoload.php';
require_once __DIR__ . '/../src/Party.php';

/** Symfony's components, without the framework. */
final class SymfonyTest extends TestCase
{
    /** What templates make leads to the route, with the values, and is what Symfony makes. */
    public function testTemplatesAreTheRoutes(): void
    {
        $utf8 = ['utf8' => true];
        $routes = new RouteCollection();
        foreach ([
            'home' => new Route('/'),
            'slash' => new Route('/a/'),
            'one' => new Route('/one/{x}'),
            'two' => new Route('/two/{x}/{y}'),
            'joined' => new Route('/joined/{x}-{y}.{z}'),
            'after' => new Route('/after-{x}'),
            'tail' => new Route('/tail/{x}', [], ['x' => '.*']),
            'some' => new Route('/some/{x}', [], ['x' => '.+']),
            'inner' => new Route('/inner/{x}/end', [], ['x' => '.+']),
            'dashed' => new Route('/dashed-{x}', [], ['x' => '.+']),
            'digits' => new Route('/digits/{x}', [], ['x' => '\d+']),
            'important' => new Route('/important/{!x}', ['x' => 'd']),
            'optional' => new Route('/optional/{x}/{y}', ['x' => 'd', 'y' => null]),
            'locale' => new Route('/{_locale}/locale', ['_locale' => 'en'], ['_locale' => 'en|de']),
            'umlaut' => new Route('/ü/{x}', [], [], $utf8),
            'marks' => new Route("/@:;,=+!*|'()&#?%[]^{x}"),
        ] as $name => $route) {
            $routes->add($name, $route);
        }
        [$templates, $reasons] = Routes::templates($routes, 'localhost', 'en');
        $this->assertSame(['important without x', 'optional without x and y', 'locale without _locale'], array_keys($reasons));
        $this->assertSame('/some{/x*}', $templates['some']);
        $generator = new UrlGenerator($routes, new RequestContext());
        $matcher = new UrlMatcher($routes, new RequestContext());
        foreach ($routes as $name => $route) {
            $this->assertArrayHasKey($name, $templates);
            $template = new Template($templates[$name]);
            $this->assertNull($template->problem(), "$name: $template");
            foreach ([['x' => 'a', 'y' => 'b', 'z' => 'c'], ['x' => 'é ü', 'y' => '~_', 'z' => '@:+'], ['x' => 'a/b c', 'y' => 'b', 'z' => 'c'], ['x' => '7', 'y' => '%41', 'z' => '0']] as $values) {
                $values = array_intersect_key($values + ['_locale' => 'de'], array_flip($route->compile()->getVariables()));
                $url = $template->expand($values);
                try {
                    $this->assertSame(rawurldecode($generator->generate($name, $values)), rawurldecode($url));
                } catch (Symfony\Component\Routing\Exception\InvalidParameterException) {
                    continue; // no template knows what a route requires of a value
                }
                $found = $matcher->match($url);
                $this->assertSame($name, $found['_route'], $url);
                $this->assertEquals($values, array_intersect_key($found, $values), $url);
            }
        }
    }

    public function testHosts(): void
    {
        $routes = new RouteCollection();
        $routes->add('here', new Route('/', [], [], [], 'shop.example'));
        $routes->add('elsewhere', new Route('/', [], [], [], 'admin.example'));
        $routes->add('anywhere', new Route('/', [], [], [], '{any}.example'));
        [$templates, $reasons] = Routes::templates($routes, 'shop.example', 'en');
        $this->assertSame(['here' => '/'], $templates);
        $this->assertSame(['elsewhere' => 'it is at another host, admin.example', 'anywhere' => 'it is at another host, {any}.example'], $reasons);
    }

    public function testWithoutTheFramework(): void
    {
        $routes = new RouteCollection();
        $routes->add('post', new Route('/posts/{slug}', ['_controller' => static fn (Request $request): Response => new Response($request->getBaseUrl() . ' ' . $request->attributes->get('slug'))]));
        $_SERVER['WSGI_PARTY_KEY'] = '0123456789abcdef0123456789abcdef';
        try {
            $router = new PartyRouter(new Router(new ClosureLoader(), static fn (): RouteCollection => $routes));
        } finally {
            unset($_SERVER['WSGI_PARTY_KEY']);
        }
        $stack = new RequestStack();
        $dispatcher = new EventDispatcher();
        $dispatcher->addSubscriber(new RouterListener($router, $stack));
        $dispatcher->addSubscriber($router);
        $kernel = new HttpKernel($dispatcher, new ControllerResolver(), $stack, new ArgumentResolver());
        $request = Request::create('/blog/posts/x', 'GET', [], [], [], ['HTTP_X_FORWARDED_PREFIX' => '/blog', 'SERVER_SOFTWARE' => 'Caddy/v2', 'SCRIPT_NAME' => '/index.php', 'SCRIPT_FILENAME' => '/srv/index.php']);
        $response = $kernel->handle($request, HttpKernelInterface::MAIN_REQUEST, false);
        $this->assertSame('/blog x', $response->getContent());
        $this->assertSame('/blog/posts/y', $router->generate('post', ['slug' => 'y']));
        $this->assertSame('/blog/posts/y', $router->party()->urlFor('post', ['slug' => 'y']));
        $this->assertStringContainsString('Caddy is told of 1 page and 0 services', $router->party()->report());
        $this->expectException(RouteNotFoundException::class);
        $this->expectExceptionMessage('Unable to generate a URL for the route "shop:cart", which is none of this application\'s: nobody has the page "shop:cart", or nobody was asked: Caddy has not said where');
        $router->generate('shop:cart');
    }
}
