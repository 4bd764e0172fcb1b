import { fullHost, serviceName } from '@meshpass/istio';
import type { LintContext } from '../context.ts';
import { destinationsOf, gatewayServers } from '../places.ts';
import type { Report, Rule } from '../rule.ts';

const PORTS = new Map<number | undefined, string>([
  [15010, 'configuration of the mesh, without TLS'],
  [
    15012,
    'configuration and certificates: anyone with a certificate of the mesh can obtain new ones for up to 90 days, even after their ServiceAccount is deleted',
  ],
  [15017, 'webhooks'],
  [443, 'webhooks'],
  [8080, 'debugging'],
  [15014, 'metrics and debugging'],
]);

/** The mesh's certificate authority is reachable from outside. */
export const istiodReachable: Rule = {
  code: 'MP205',
  name: 'istiod-reachable',
  severity: 'error',
  title: 'istiod is reachable through a gateway',
  fix: 'Remove the route. Only a remote cluster of a multi-primary mesh needs it, on its own network. In that case, suppress this finding with that reason.',
  *check(context) {
    yield* routesToIstiod(context);
    const { rootNamespace, clusterDomain } = context.mesh.config;
    for (const { gateway, server, path } of gatewayServers(context)) {
      const passes =
        server.tls?.mode === 'AUTO_PASSTHROUGH' &&
        (server.hosts ?? []).includes(`istiod.${rootNamespace}.svc.${clusterDomain}`);
      if (server.port?.number !== 15012 && !passes) continue;
      yield {
        on: gateway,
        path: [...path, ...(passes ? ['hosts'] : ['port', 'number'])],
        message: `this server exposes istiod's port 15012: ${PORTS.get(15012)}.`,
      };
    }
  },
};

function* routesToIstiod({ mesh }: LintContext): Generator<Report> {
  const { rootNamespace, clusterDomain } = mesh.config;
  const bound = mesh.all('VirtualService').filter(({ spec }) => (spec.gateways ?? []).some((one) => one !== 'mesh'));
  for (const { service, destination, path } of bound.flatMap(destinationsOf)) {
    const host = fullHost(destination?.host ?? '', service.metadata.namespace, clusterDomain);
    const name = serviceName(host, clusterDomain);
    if (name?.namespace !== rootNamespace || !/^istiod(?:-|$)/.test(name.name)) continue;
    const port = destination?.port?.number;
    yield {
      on: service,
      path: [...path, 'host'],
      message: `port ${port ?? '15012 and every other'} of ${host} becomes reachable through a gateway: ${PORTS.get(port ?? 15012) ?? 'its control plane'}.`,
    };
  }
}
