<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty\Symfony;

use Psr\Container\ContainerInterface;
use Psr\Log\LoggerInterface;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\CacheWarmer\WarmableInterface;
use Symfony\Component\HttpKernel\Event\RequestEvent;
use Symfony\Component\HttpKernel\KernelEvents;
use Symfony\Component\Routing\Exception\RouteNotFoundException;
use Symfony\Component\Routing\Matcher\RequestMatcherInterface;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\RouteCollection;
use Symfony\Component\Routing\RouterInterface;
use WsgiParty\Batch;
use WsgiParty\Party;

/**
 * Symfony's router with the routes of everybody at the party: what it does not know itself, it asks for. It answers
 * what Caddy asks, too, before all other listeners, and tells it the routes.
 *
 * WsgiPartyBundle puts it in place. Without FrameworkBundle, it is made from a router and added to the dispatcher.
 */
final class PartyRouter implements RouterInterface, RequestMatcherInterface, WarmableInterface, EventSubscriberInterface
{
    private Party $party;
    private ?Request $request = null;

    /**
     * @param ?ContainerInterface $services has handlers, see Party::service(), by the names of services
     * @param iterable<string> $serviceNames those names
     * @param list<string> $alone those of them that are asked one by one
     * @param ?string $missingLink the URL of a route that nobody has, rather than a RouteNotFoundException
     */
    public function __construct(
        private RouterInterface $router,
        ?ContainerInterface $services = null,
        iterable $serviceNames = [],
        ?LoggerInterface $logger = null,
        ?string $missingLink = null,
        private string $defaultLocale = 'en',
        array $alone = [],
    ) {
        $this->party = new Party(
            pages: fn (): array => Routes::templates($this->getRouteCollection(), $this->request?->getHost() ?? 'localhost', $this->defaultLocale),
            missingLink: $missingLink,
            log: $logger === null ? null : $logger->log(...),
            own: $this->ownUrl(...),
        );
        foreach ($serviceNames as $name) {
            $this->party->service($name, function (mixed $payload, Party $party) use ($services, $name): mixed {
                if ($this->request !== null) { // routing, which would do this, comes later
                    $this->mount($this->request);
                    $this->getContext()->fromRequest($this->request);
                }
                return $services?->get($name)($payload, $party);
            }, !in_array($name, $alone, true));
        }
    }

    public function party(): Party
    {
        return $this->party;
    }

    public static function getSubscribedEvents(): array
    {
        return [KernelEvents::REQUEST => [
            ['onKernelRequest', 4096], // before anything asks for the base URL, or for a login
            ['onRouted', 31], // after Symfony's RouterListener
        ]];
    }

    public function onKernelRequest(RequestEvent $event): void
    {
        if (!$event->isMainRequest() || !$this->party->isGuest()) {
            return;
        }
        $this->request = $request = $event->getRequest();
        $answer = $this->party->handle($request->server->all(), static fn (): string => (string) stream_get_contents($request->getContent(true), Batch::MAX_BODY + 1));
        if ($answer !== null) {
            [$status, $headers, $body] = $answer;
            $event->setResponse(new Response($body, $status, $headers));
        } elseif ($request->headers->has('X-Forwarded-Prefix')) {
            $this->mount($request);
        }
    }

    public function onRouted(RequestEvent $event): void
    {
        if ($event->isMainRequest()) {
            $this->party->endpoint((string) $event->getRequest()->attributes->get('_route'));
        }
    }

    public function generate(string $name, array $parameters = [], int $referenceType = self::ABSOLUTE_PATH): string
    {
        try {
            return $this->router->generate($name, $parameters, $referenceType);
        } catch (RouteNotFoundException $error) {
            return $this->foreignUrl($name, $parameters, $referenceType) ?? throw $error;
        }
    }

    public function getRouteCollection(): RouteCollection
    {
        return $this->router->getRouteCollection();
    }

    public function match(string $pathinfo): array
    {
        return $this->router->match($pathinfo);
    }

    public function matchRequest(Request $request): array
    {
        return $this->router instanceof RequestMatcherInterface ? $this->router->matchRequest($request) : $this->router->match($request->getPathInfo());
    }

    public function setContext(RequestContext $context): void
    {
        $this->router->setContext($context);
    }

    public function getContext(): RequestContext
    {
        return $this->router->getContext();
    }

    /** @return array<string> */
    public function warmUp(string $cacheDir, ?string $buildDir = null): array
    {
        return $this->router instanceof WarmableInterface ? (array) $this->router->warmUp($cacheDir, $buildDir) : [];
    }

    /** @param array<mixed> $values */
    private function ownUrl(string $name, array $values): ?string
    {
        try {
            return $this->router->generate($name, $values);
        } catch (RouteNotFoundException) {
            return null;
        }
    }

    /** @param array<mixed> $values */
    private function foreignUrl(string $name, array $values, int $referenceType): ?string
    {
        if (!$this->party->isGuest()) {
            return null;
        }
        $fragment = (string) ($values['_fragment'] ?? '');
        unset($values['_fragment']);
        try {
            $url = $this->party->urlFor($name, $values);
        } catch (\OutOfBoundsException|\InvalidArgumentException $error) {
            throw new RouteNotFoundException("Unable to generate a URL for the route \"$name\", which is none of this application's: {$error->getMessage()}.", 0, $error);
        }
        if ($url !== '' && $url[0] === '/' && in_array($referenceType, [self::ABSOLUTE_URL, self::NETWORK_PATH], true)) {
            $context = $this->getContext();
            $port = $context->getScheme() === 'https' ? $context->getHttpsPort() : $context->getHttpPort();
            $url = ($referenceType === self::ABSOLUTE_URL ? $context->getScheme() . ':' : '') . '//' . $context->getHost()
                . ($port === ($context->getScheme() === 'https' ? 443 : 80) ? '' : ":$port") . $url;
        }
        return $url . ($fragment === '' ? '' : '#' . rawurlencode($fragment));
    }

    /** Gives the request the base URL that visitors see, once, whether Symfony trusts X-Forwarded-Prefix or not. */
    private function mount(Request $request): void
    {
        $server = $request->server->all();
        $headers = $request->headers->all();
        unset($server['HTTP_X_FORWARDED_PREFIX'], $headers['x-forwarded-prefix']);
        $mount = $this->party->mount();
        $base = rawurldecode($mount);
        $script = (string) $request->server->get('SCRIPT_NAME');
        $file = basename((string) $request->server->get('SCRIPT_FILENAME'));
        $script = basename($script) === $file ? '/' . ltrim($script, '/') : "/$file"; // of `php -S`, it is the request's path
        if ($mount !== '' && !str_starts_with($script, "$base/")) { // else the server has done it
            $query = strstr((string) $request->server->get('REQUEST_URI'), '?');
            $server['REQUEST_URI'] = $mount . $this->party->path() . ($query === false ? '' : $query);
            $server['SCRIPT_NAME'] = $server['PHP_SELF'] = $base . $script;
        }
        $request->initialize(
            $request->query->all(), $request->request->all(), $request->attributes->all(), $request->cookies->all(), $request->files->all(), $server, $request->getContent(true),
        );
        $request->headers->replace($headers);
    }
}
