import { fullHost, type GatewayServer, serviceName } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { destinationsOf, gatewayServers, needsClaim } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';

const BY_CERTIFICATE =
  'anyone with a certificate of the mesh can obtain new ones for up to 90 days, even after their ServiceAccount is deleted';
const BY_TOKEN =
  'the gateway terminates TLS, so that istiod sees no certificate of the caller, and anyone with a ServiceAccount token for istiod can obtain both';

const PORTS = new Map<number | undefined, string>([
  [15010, 'configuration of the mesh, without TLS'],
  [15012, 'configuration and certificates'],
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
    for (const { on, value: server, path } of gatewayServers(context)) {
      const passes =
        server.tls?.mode === 'AUTO_PASSTHROUGH' &&
        (server.hosts ?? []).includes(`istiod.${rootNamespace}.svc.${clusterDomain}`);
      if (server.port?.number !== 15012 && !passes) continue;
      yield {
        on,
        path: [...path, ...(passes ? ['hosts'] : ['port', 'number'])],
        message: `this server exposes istiod's port 15012: ${exposedAt(15012, terminates(server))}.`,
      };
    }
  },
};

function exposedAt(port: number, isTerminated: boolean): string {
  const exposed = PORTS.get(port) ?? 'its control plane';
  return port === 15012 ? `${exposed}: ${isTerminated ? BY_TOKEN : BY_CERTIFICATE}` : exposed;
}

/** Whether the gateway terminates the TLS of callers, and does not forward it to istiod. */
function terminates({ tls }: GatewayServer): boolean {
  return tls?.mode !== undefined && !/PASSTHROUGH$/.test(tls.mode);
}

function* routesToIstiod({ mesh }: LintContext): Generator<Report> {
  const { rootNamespace, clusterDomain } = mesh.config;
  const bound = mesh.all('VirtualService').filter(({ spec }) => (spec.gateways ?? []).some((one) => one !== 'mesh'));
  for (const { on, value: destination, path } of bound.flatMap(destinationsOf)) {
    const host = fullHost(destination?.host ?? '', on.metadata.namespace, clusterDomain);
    const name = serviceName(host, clusterDomain);
    if (name?.namespace !== rootNamespace || !/^istiod(?:-|$)/.test(name.name)) continue;
    const port = destination?.port?.number;
    const [, protocol, index] = path;
    // An HTTP route reads the request, which the gateway has decrypted.
    const isHttp = protocol === 'http';
    const matches = isHttp ? items(items(on.spec.http)[index as number]?.match) : [];
    const isVerified = matches.length > 0 && matches.every(needsClaim);
    yield {
      on,
      path: [...path, 'host'],
      ...(isVerified && { severity: 'warning' as const }),
      message: `port ${port ?? '15012 and every other'} of ${host} becomes reachable through a gateway${isVerified ? ' with a verified token' : ''}: ${exposedAt(port ?? 15012, isHttp)}.`,
    };
  }
}
