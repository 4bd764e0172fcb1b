/** Random exposures of a mesh: a gateway, routes through it, and policies at it. */
import { METHODS, maybe, PATHS, pick, type Random } from '../diff/random-policies.ts';
import { deployment, type KubeManifest, type Manifests, meshConfig, object, randomPolicy } from './random-mesh.ts';

/** Gateway workload; generated policies name its service account. */
export const GATEWAY = { namespace: 'dev', name: 'web', labels: { app: 'edge', istio: 'edge' } } as const;

/**
 * Adds an exposure to the mesh. Its configuration is read, because otherwise the linter warns about every possible one.
 */
export function exposed(random: Random, mesh: Manifests): Manifests {
  const pods = deployment(GATEWAY.name, GATEWAY.labels, 8443);
  const servers = [{ port: { number: 80, protocol: 'HTTP', name: 'http' }, hosts: ['*/*'] }];
  const destinations = [...PATHS.slice(0, 3)].map(() => route(random));
  return [
    ...mesh,
    ...(mesh.some(({ kind }) => kind === 'ConfigMap') ? [] : [meshConfig(random)]),
    { ...pods, metadata: { ...pods.metadata, namespace: GATEWAY.namespace } },
    object('Gateway', 'edge', GATEWAY.namespace, { selector: { istio: 'edge' }, servers }),
    ...destinations.map((http, index) =>
      object(
        'VirtualService',
        `route-${index}`,
        'shop',
        { hosts: [pick(random, ['orders.shop', 'ORDERS.shop', '*.dev', '*'])], gateways: ['dev/edge'], http: [http] },
        { labels: { 'meshpass.dev/test-route': 'true' } },
      ),
    ),
    ...(random() < 0.5 ? [atGateway(randomPolicy(random, 'edge'))] : []),
    ...(random() < 0.5 ? [demanding(random)] : []),
  ];
}

function route(random: Random): object {
  const match = () => ({
    ...maybe(random, 0.8, 'uri', () => ({ [pick(random, ['exact', 'prefix'])]: pick(random, PATHS) })),
    ...maybe(random, 0.3, 'method', () => ({ exact: pick(random, METHODS) })),
  });
  const host = `${pick(random, ['orders', 'orders', 'web'])}.shop.svc.cluster.local`;
  return {
    ...maybe(random, 0.8, 'match', () => (random() < 0.3 ? [match(), match()] : [match()])),
    ...maybe(random, 0.2, 'rewrite', () => ({ uri: pick(random, PATHS) })),
    route: [{ destination: { host, port: { number: pick(random, [80, 80, 90]) } } }],
  };
}

function atGateway(policy: KubeManifest): KubeManifest {
  return { ...policy, metadata: { ...policy.metadata, namespace: GATEWAY.namespace } };
}

/** Returns a policy that requires an identity in a common form. */
function demanding(random: Random): KubeManifest {
  const atEdge = random() < 0.5;
  const spec = pick(random, [
    { action: 'DENY', rules: [{ from: [{ source: { notRequestPrincipals: ['*'] } }] }] },
    { action: 'ALLOW', rules: [{ from: [{ source: { requestPrincipals: ['*'] } }] }] },
    { action: 'ALLOW', rules: [{ from: [{ source: { principals: ['cluster.local/ns/dev/sa/orders'] } }] }] },
    { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['dev'] } }] }] },
    { action: 'DENY', rules: [{ to: [{ operation: { paths: [`${pick(random, PATHS)}*`] } }] }] },
  ]);
  return object('AuthorizationPolicy', 'demand', atEdge ? GATEWAY.namespace : 'shop', spec);
}
