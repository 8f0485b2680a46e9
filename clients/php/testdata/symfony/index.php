<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A small Symfony application. All that it does for the party is in registerBundles,
// where others have bundles.php, and the tag of a handler.

declare(strict_types=1);

use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\HttpKernel\Log\Logger;
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;
use WsgiParty\Party;
use WsgiParty\WsgiPartyBundle;

require '/usr/share/php/Symfony/Bundle/FrameworkBundle/autoload.php';
require '/usr/share/php/Symfony/Bundle/TwigBundle/autoload.php';
spl_autoload_register(static function (string $class): void { // as Composer's does
    if (str_starts_with($class, 'WsgiParty\\')) {
        require __DIR__ . '/../../src/' . strtr(substr($class, 10), '\\', '/') . '.php';
    }
});

final class Pages extends AbstractController
{
    public function home(Request $request): JsonResponse
    {
        return $this->json([
            'base' => $request->getBaseUrl(), 'path' => $request->getPathInfo(), 'uri' => $request->getRequestUri(),
            'home' => $this->generateUrl('home'),
            'post' => $this->generateUrl('post', ['slug' => 'é b'], UrlGeneratorInterface::ABSOLUTE_URL),
            'form' => $request->request->all(), 'content' => $request->getContent(),
        ]);
    }

    public function links(Request $request): JsonResponse
    {
        $links = [];
        foreach ($request->query->all('to') as $name) {
            try {
                $links[$name] = $this->generateUrl($name, $request->query->all('with'), (int) $request->query->get('type', (string) UrlGeneratorInterface::ABSOLUTE_PATH));
            } catch (Exception $error) {
                $links[$name] = $error::class . ': ' . $error->getMessage();
            }
        }
        return $this->json($links);
    }

    public function many(Request $request): JsonResponse
    {
        $links = [];
        for ($i = 0; $i < 50; $i++) {
            $links[] = $this->generateUrl('shop:item', ['id' => $i]);
        }
        return $this->json($links);
    }

    public function twig(): Response
    {
        return $this->render('page.html.twig');
    }

    public function ask(Party $party, Request $request): JsonResponse
    {
        return $this->json([$party->ask('price', ['id' => 7]), $party->askFirst('nothing', null, 'default'), $party->urlFor('home'), $party->urlFor('shop:cart')]);
    }
}

final class User
{
    public function __construct(private UrlGeneratorInterface $urls)
    {
    }

    public function __invoke(mixed $payload): mixed
    {
        if (($payload['id'] ?? 0) === 13) {
            throw new LogicException('unlucky');
        }
        return ($payload['id'] ?? 0) === 7 ? ['name' => 'Ann', 'cart' => $this->urls->generate('shop:cart'), 'home' => $this->urls->generate('home')] : Party::HIGH_AND_DRY;
    }
}

final class Application extends Kernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new TwigBundle(), new WsgiPartyBundle()];
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', [
            'secret' => 'x', 'test' => false, 'router' => ['utf8' => true], 'http_method_override' => false,
            'trusted_proxies' => getenv('TRUSTED_PROXIES') ?: null, 'trusted_headers' => ['x-forwarded-for', 'x-forwarded-prefix'],
        ]);
        $container->extension('twig', ['default_path' => __DIR__]);
        if (getenv('MISSING') !== false) {
            $container->parameters()->set('wsgi_party.missing_link', '');
        }
        $services = $container->services()->defaults()->autowire()->autoconfigure();
        $services->set('logger', Logger::class)->args(['info'])->public();
        $services->set(Pages::class, Pages::class);
        $services->set(User::class, User::class)->tag('wsgi_party.service', ['service' => 'user']);
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('home', '/')->controller([Pages::class, 'home']);
        $routes->add('links', '/links')->controller([Pages::class, 'links']);
        $routes->add('many', '/many')->controller([Pages::class, 'many']);
        $routes->add('twig', '/twig')->controller([Pages::class, 'twig']);
        $routes->add('ask', '/ask')->controller([Pages::class, 'ask']);
        $routes->add('nested', '/sf/links')->controller([Pages::class, 'home']); // like the mount
        $routes->add('post', '/posts/{slug}')->controller([Pages::class, 'home']);
        $routes->add('docs', '/docs/{path}')->controller([Pages::class, 'home'])->requirements(['path' => '.+']);
        $routes->add('number', '/numbers/{n}')->controller([Pages::class, 'home'])->requirements(['n' => '\d+']);
        $routes->add('list', '/list/{page}')->controller([Pages::class, 'home'])->defaults(['page' => 1]);
        $routes->add('feed', '/feed.{_format}')->controller([Pages::class, 'home'])->requirements(['_format' => 'rss|atom']);
        $routes->add('about', ['en' => '/about', 'de' => '/über'])->controller([Pages::class, 'home']);
        $routes->add('odd', "/odd 'path'/ü&=%")->controller([Pages::class, 'home']);
        $routes->add('save', '/save')->controller([Pages::class, 'home'])->methods(['POST']);
        $routes->add('secure', '/secure')->controller([Pages::class, 'home'])->schemes(['https', 'http']);
        $routes->add('here', '/here')->controller([Pages::class, 'home'])->host('{any}')->requirements(['any' => '.*']);
        $routes->add('admin', '/')->controller([Pages::class, 'home'])->host('admin.example.com');
        $routes->add('dots', '/a/../b')->controller([Pages::class, 'home']);
        $routes->add('double', '/a//b')->controller([Pages::class, 'home']);
        $routes->add("bad name\"</script>", '/bad')->controller([Pages::class, 'home']);
        $routes->add('App\Controller\Invokable', '/invokable')->controller([Pages::class, 'home']);
        $routes->add('_private', '/private')->controller([Pages::class, 'home']);
    }

    public function getProjectDir(): string
    {
        return __DIR__;
    }

    public function getCacheDir(): string
    {
        return (string) getenv('CACHE');
    }

    public function getLogDir(): string
    {
        return (string) getenv('CACHE');
    }
}

$application = new Application('prod', false);
$request = Request::createFromGlobals();
if (getenv('EARLY') !== false) {
    $request->getBaseUrl(); // as a cache or a firewall in front of the kernel may
}
$response = $application->handle($request);
$response->send();
$application->terminate($request, $response);
