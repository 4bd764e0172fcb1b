/** Random meshes with everything that two commands could interpret differently; deterministic by seed. */
import { ISSUERS, maybe, pick, type Random, rule, some } from '../diff/random-policies.ts';

/** Manifests; an object that is not applied yet has no `creationTimestamp`. */
export type Manifests = readonly KubeManifest[];

export interface KubeManifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
  };
  readonly [member: string]: unknown;
}

const DRY_RUNS = ['true', 'True', 'T', '1', 't', 'TRUE', 'false', 'yes', 'tRUE', '0'];
const ROOT = 'istio-system';
const PROTOCOLS = ['http', 'http', 'grpc', 'tcp', 'x', 'http2-web'];

const chance = (random: Random, likely: number): boolean => random() < likely;

/** Returns a creation time for two policies in three; cluster objects always have one. */
function age(random: Random): object {
  return chance(random, 0.65) ? { creationTimestamp: `2026-0${1 + Math.floor(random() * 9)}-01T00:00:00Z` } : {};
}

export function randomMesh(random: Random): Manifests {
  return [
    ...workloads(random),
    ...(chance(random, 0.5) ? [meshConfig(random)] : []),
    ...Array.from({ length: 1 + Math.floor(random() * 4) }, (_, index) => randomPolicy(random, `p${index}`)),
  ];
}

/** Applies up to three changes: policies are added, removed or reapplied; a Service changes a protocol. */
export function changed(random: Random, mesh: Manifests): Manifests {
  let objects = [...mesh];
  for (let left = 1 + Math.floor(random() * 3); left > 0; left--) {
    const policies = objects.filter(({ apiVersion }) => apiVersion.startsWith('security'));
    const one = policies.length > 0 ? pick(random, policies) : undefined;
    const kind = random();
    if (kind < 0.45 || !one) objects.push(randomPolicy(random, `n${left}`));
    else if (kind < 0.65) objects = objects.filter((other) => other !== one);
    else if (kind < 0.75) {
      // Applied again from its file, it is the same object.
      const { creationTimestamp: _, ...metadata } = one.metadata;
      objects = objects.map((other) => (other === one ? { ...one, metadata } : other));
    } else if (kind < 0.9) {
      const annotations = { 'istio.io/dry-run': pick(random, DRY_RUNS) };
      objects = objects.map((other) =>
        other === one ? { ...one, metadata: { ...one.metadata, annotations } } : other,
      );
    } else {
      objects = objects.map((other) =>
        other.kind === 'Service' && other.metadata.name === 'orders' ? service(random, 'orders', 'orders') : other,
      );
    }
  }
  return objects;
}

function workloads(random: Random): Manifests {
  const gateway = chance(random, 0.25);
  return [
    service(random, 'orders', 'orders'),
    service(random, 'web', 'web'),
    ...(chance(random, 0.3) ? [service(random, 'also', 'orders')] : []),
    deployment('orders', { app: 'orders', tier: 'back' }, 8080),
    deployment('web', { app: 'web', ...(gateway && { istio: 'ingress' }) }, 7070),
    ...(chance(random, 0.25) ? [pod('web-0', 'Running'), pod('web-1', 'Running')] : []),
    ...(chance(random, 0.15) ? [pod('ended', 'Succeeded')] : []),
    ...(gateway ? [object('Gateway', 'ingress', 'shop', { selector: { istio: 'ingress' }, servers: [] })] : []),
    ...(chance(random, 0.15)
      ? [
          object('Sidecar', 'only', 'shop', {
            ingress: [{ port: { number: 8080, protocol: pick(random, ['HTTP', 'TCP']), name: 'x' } }],
          }),
        ]
      : []),
  ];
}

function service(random: Random, name: string, app: string): KubeManifest {
  const target = pick(random, ['web', 8080, 8080]);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop', ...age(random) },
    spec: {
      selector: { app },
      ports: [
        { name: `${pick(random, PROTOCOLS)}-a`, port: 80, targetPort: target },
        { name: 'tcp-b', port: 90, targetPort: 9090 },
      ],
    },
  };
}

export function deployment(name: string, labels: object, port: number): KubeManifest {
  const containers = [{ name: 'app', ports: [{ name: 'web', containerPort: port }] }];
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'shop' },
    spec: { template: { metadata: { labels }, spec: { serviceAccountName: name, containers } } },
  };
}

function pod(name: string, phase: string): KubeManifest {
  const labels = { app: 'web', 'statefulset.kubernetes.io/pod-name': name };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels },
    spec: { serviceAccountName: 'web' },
    status: { phase },
  };
}

/** Contains the alias in every mesh, because calls use it. */
export function meshConfig(random: Random): KubeManifest {
  const provider = chance(random, 0.5) ? 'envoyExtAuthzGrpc' : 'envoyExtAuthzHttp';
  const mesh = [
    ...(chance(random, 0.6) ? ['trustDomainAliases: [old.example]'] : []),
    ...(chance(random, 0.3) ? ['caCertificates: [{trustDomains: [other.example]}]'] : []),
    `extensionProviders: [{name: opa, ${provider}: {service: opa.shop.svc.cluster.local, port: 80}}]`,
  ].join('\n');
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'istio', namespace: ROOT }, data: { mesh } };
}

export function randomPolicy(random: Random, name: string): KubeManifest {
  const which = random();
  if (which < 0.6) return authorizationPolicy(random, name);
  return which < 0.75 ? requestAuthentication(random, name) : peerAuthentication(random, name);
}

function authorizationPolicy(random: Random, name: string): KubeManifest {
  return object(
    'AuthorizationPolicy',
    name,
    pick(random, ['shop', 'shop', ROOT]),
    {
      ...selection(random),
      action: pick(random, ['ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT', 'CUSTOM']),
      provider: { name: pick(random, ['opa', 'opa', 'opa', 'other']) },
      ...maybe(random, 0.95, 'rules', () => some(random, () => rule(random))),
    },
    {
      ...age(random),
      ...maybe(random, 0.2, 'annotations', () => ({ 'istio.io/dry-run': pick(random, DRY_RUNS) })),
    },
  );
}

function requestAuthentication(random: Random, name: string): KubeManifest {
  const jwtRules = some(random, () => ({
    issuer: pick(random, ISSUERS),
    jwks: '{}',
    ...maybe(random, 0.3, 'audiences', () => ['meshpass']),
    ...maybe(random, 0.25, 'fromHeaders', () => [{ name: 'x-token' }]),
  }));
  return object(
    ...(['RequestAuthentication', name, pick(random, ['shop', 'shop', ROOT])] as const),
    { ...selection(random), jwtRules },
    { ...age(random), ...maybe(random, 0.15, 'annotations', () => ({ 'istio.io/dry-run': 'true' })) },
  );
}

function peerAuthentication(random: Random, name: string): KubeManifest {
  const mode = () => pick(random, ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT', 'STRICT']);
  return object(
    'PeerAuthentication',
    name,
    pick(random, ['shop', 'shop', ROOT]),
    {
      ...maybe(random, 0.5, 'selector', () => ({ matchLabels: pick(random, [{ app: 'orders' }, { app: 'web' }, {}]) })),
      ...maybe(random, 0.85, 'mtls', () => ({ mode: mode() })),
      ...maybe(random, 0.35, 'portLevelMtls', () => ({ [pick(random, ['8080', '9090', '7070'])]: { mode: mode() } })),
    },
    age(random),
  );
}

function selection(random: Random): object {
  const which = random();
  if (which < 0.5) return {};
  if (which < 0.7) return { selector: { matchLabels: { app: pick(random, ['orders', 'web']) } } };
  if (which < 0.8) return { selector: { matchLabels: pick(random, [{ tier: 'back' }, { istio: 'ingress' }, {}]) } };
  if (which < 0.9) return { selector: { matchLabels: { 'statefulset.kubernetes.io/pod-name': 'web-1' } } };
  return { targetRefs: [{ kind: 'Service', name: 'orders', group: '' }] };
}

export function object(
  kind: string,
  name: string,
  namespace: string,
  spec: object,
  metadata: object = {},
): KubeManifest {
  const group = ['Gateway', 'Sidecar', 'VirtualService'].includes(kind) ? 'networking' : 'security';
  return { apiVersion: `${group}.istio.io/v1`, kind, metadata: { name, namespace, ...metadata }, spec };
}
