<?php
// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

declare(strict_types=1);

namespace WsgiParty;

use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\Compiler\ServiceLocatorTagPass;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\ContainerInterface;
use Symfony\Component\DependencyInjection\Exception\InvalidArgumentException;
use Symfony\Component\DependencyInjection\Extension\ExtensionInterface;
use Symfony\Component\DependencyInjection\Parameter;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\HttpKernel\Bundle\Bundle;
use WsgiParty\Symfony\PartyRouter;

/**
 * One line in config/bundles.php makes a Symfony application a guest. From then on path(), url() and generateUrl() know
 * the pages of all, and WsgiParty\Party can be autowired. Services that are callable and tagged
 * `{ name: wsgi_party.service, service: user }` answer for what they are named after, with
 * `batch: false` one by one. What the parameter `wsgi_party.missing_link` says, if it is not null, is the URL of routes
 * that nobody has.
 */
final class WsgiPartyBundle extends Bundle implements CompilerPassInterface
{
    public function getContainerExtension(): ?ExtensionInterface
    {
        return null; // there is nothing to configure
    }

    public function build(ContainerBuilder $container): void
    {
        $container->setParameter('wsgi_party.missing_link', null);
        $container->addCompilerPass($this);
        $container->register(PartyRouter::class, PartyRouter::class)
            ->setDecoratedService('router')
            ->setArguments([
                new Reference(PartyRouter::class . '.inner'),
                null,
                [],
                new Reference('logger', ContainerInterface::NULL_ON_INVALID_REFERENCE),
                new Parameter('wsgi_party.missing_link'),
                new Parameter('kernel.default_locale'),
                [],
            ])
            ->addTag('kernel.event_subscriber')
            ->addTag('monolog.logger', ['channel' => 'wsgi_party']);
        $container->register(Party::class, Party::class)
            ->setFactory([new Reference(PartyRouter::class), 'party'])
            ->setPublic(true);
    }

    public function process(ContainerBuilder $container): void
    {
        $handlers = $alone = [];
        foreach ($container->findTaggedServiceIds('wsgi_party.service') as $id => $tags) {
            foreach ($tags as $tag) {
                $service = $tag['service'] ?? throw new InvalidArgumentException("The tag wsgi_party.service of \"$id\" needs the service that it answers for: { name: wsgi_party.service, service: user }.");
                if (isset($handlers[$service])) {
                    throw new InvalidArgumentException("Both \"{$handlers[$service]}\" and \"$id\" answer for the service \"$service\" of wsgi_party.");
                }
                $handlers[$service] = new Reference($id);
                if (!($tag['batch'] ?? true)) {
                    $alone[] = $service;
                }
            }
        }
        $container->getDefinition(PartyRouter::class)
            ->replaceArgument(1, ServiceLocatorTagPass::register($container, $handlers))
            ->replaceArgument(2, array_keys($handlers))
            ->replaceArgument(6, $alone);
    }
}
