import { fullHost, serviceName } from '@meshpass/istio';
import { items, text } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

const PORTS = new Map<number | undefined, string>([
  [15010, 'configuration of the mesh, without TLS'],
  [
    15012,
    'configuration and certificates: whoever holds a certificate of the mesh gets new ones for up to 90 days, after his ServiceAccount is gone too',
  ],
  [15017, 'webhooks'],
  [443, 'webhooks'],
  [8080, 'debugging'],
  [15014, 'metrics and debugging'],
]);

/** The mesh's certificate authority, reachable from outside. */
export const istiodReachable: Rule = {
  code: 'MP205',
  name: 'istiod-reachable',
  severity: 'error',
  title: 'istiod is reachable through a gateway',
  fix: 'Remove the route. Only a remote cluster of a multi-primary mesh needs it, on a network of its own; in that case suppress this finding with that reason.',
  *check(context) {
    for (const service of context.mesh.all('VirtualService')) {
      if (!(service.spec.gateways ?? []).some((one) => one !== 'mesh')) continue;
      for (const protocol of ['http', 'tls', 'tcp'] as const) {
        for (const [index, route] of items<{
          route?: readonly { destination?: { host?: string; port?: { number?: number } } }[];
        }>(service.spec[protocol]).entries()) {
          for (const [nth, { destination }] of items(route.route).entries()) {
            const host = fullHost(
              text(destination?.host) ?? '',
              service.metadata.namespace,
              context.mesh.config.clusterDomain,
            );
            const name = serviceName(host, context.mesh.config.clusterDomain);
            if (name?.namespace !== context.mesh.config.rootNamespace || !/^istiod(?:-|$)/.test(name.name)) continue;
            const port = destination?.port?.number;
            yield {
              on: service,
              path: ['spec', protocol, index, 'route', nth, 'destination', 'host'],
              message: `port ${port ?? '15012 and every other'} of ${host} becomes reachable through a gateway: ${PORTS.get(port ?? 15012) ?? 'its control plane'}.`,
            };
          }
        }
      }
    }
    const domain = `istiod.${context.mesh.config.rootNamespace}.svc.${context.mesh.config.clusterDomain}`;
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [index, { port, tls, hosts }] of items(gateway.spec.servers).entries()) {
        const passes = tls?.mode === 'AUTO_PASSTHROUGH' && (hosts ?? []).includes(domain);
        if (port?.number !== 15012 && !passes) continue;
        yield {
          on: gateway,
          path: passes ? ['spec', 'servers', index, 'hosts'] : ['spec', 'servers', index, 'port', 'number'],
          message: `this server exposes istiod's port 15012: ${PORTS.get(15012)}.`,
        };
      }
    }
  },
};
