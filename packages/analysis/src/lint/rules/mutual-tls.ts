/** Defines rules about connections without a certificate, whose callers therefore have no identity. */
import {
  actionOf,
  type ClientTls,
  clientTlsMode,
  type DestinationRule,
  fullHost,
  identityOf,
  isForSidecars,
  isTcp,
  type KubeObject,
  type MeshView,
  type MutualTlsMode,
  type PeerAuthentication,
  peerModesOf,
  selectorOf,
  selects,
  selectsPods,
  serviceName,
  targetPortOf,
} from '@meshpass/istio';
import { items, labels, record } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { findPeerIdentityPart, itemsOf, rulesOf } from '../parts.ts';
import { each, type Part, type Report, type Rule } from '../rule.ts';

/**
 * Reports DENY policies that identify callers by certificate although the workload also accepts connections without
 * one. A denied caller can then simply connect without its certificate.
 */
const denyWithoutMtls: Rule = {
  code: 'MP314',
  name: 'deny-without-mtls',
  severity: 'error',
  title: 'A DENY identifies callers by certificate on a workload that accepts calls without one',
  fix: 'Set PeerAuthentication STRICT for the workload, or deny everyone else with `notPrincipals`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (actionOf(policy) !== 'DENY' || !isForSidecars(policy)) continue;
      const selector = selectorOf(policy) ?? {};
      const plain = plainTextPort(context, policy.metadata.namespace, selector, (pod) => selectsPods(policy, pod));
      if (!plain) continue;
      const message = `a caller that this rule denies can connect without a certificate and is then allowed: ${plain}.`;
      for (const rule of rulesOf(policy)) {
        const at = findPeerIdentityPart(rule);
        if (at) yield { on: policy, message, ...at };
      }
    }
  },
};

/** Reports workloads that also accept plain text. Callers that use it have no principal that a rule could match. */
const permissiveMtls: Rule = {
  code: 'MP402',
  name: 'permissive-mtls',
  severity: 'error',
  title: 'A granted service or a part of the mesh accepts connections without mutual TLS',
  fix: 'Set `mtls: {mode: STRICT}`, and list the ports that must stay plain text (probes) under `portLevelMtls`.',
  *check(context) {
    const reported = new Set<KubeObject>();
    for (const [host, grants] of context.granted) {
      const opening = openingOf(context, host);
      if (!opening || (opening.on.kind === 'PeerAuthentication' && reported.has(opening.on))) continue;
      const { how, ...at } = opening;
      reported.add(at.on);
      yield {
        ...at,
        message: `${host}, granted by ${grants.join(', ')}, accepts calls without a certificate${how}: a caller that reaches the pod directly has no principal or namespace that a policy can match.`,
      };
    }
    for (const policy of context.mesh.all('PeerAuthentication')) {
      if (!reported.has(policy)) yield* openMode(context, policy);
    }
  },
};

/** Finds the object that makes a granted service accept plain text: a policy, or the service itself by default. */
function openingOf(context: LintContext, host: string): (Pick<Report, 'on' | 'path'> & { how: string }) | undefined {
  const namespace = serviceName(host, context.mesh.config.clusterDomain)?.namespace;
  if (namespace === undefined) return undefined;
  const service = context.mesh.serviceAt(host);
  const pod = service && context.mesh.podsBehind(service)[0];
  const opening = findOpening(context, namespace, pod?.labels ?? labels(service?.spec.selector));
  if (!opening) return undefined;
  const { by, port } = opening;
  if (!by) return service && { on: service, path: ['metadata', 'name'], how: ` (${BY_DEFAULT})` };
  if (port === undefined) return { on: by, path: ['spec', 'mtls', 'mode'], how: '' };
  return { on: by, path: ['spec', 'portLevelMtls', String(port), 'mode'], how: ` on port ${port}` };
}

const BY_DEFAULT = "no PeerAuthentication sets STRICT, and Istio's default is PERMISSIVE";

/** Reports a PeerAuthentication that allows plain text in part of the mesh. */
function* openMode({ mesh }: LintContext, policy: PeerAuthentication): Generator<Report> {
  const { namespace } = policy.metadata;
  const selector = selectorOf(policy) ?? {};
  const whole = Object.keys(selector).length === 0;
  const root = namespace === mesh.config.rootNamespace;
  // In the root namespace, a policy with a selector has no effect. Modes for individual ports only apply if the policy
  // has a selector.
  if (!whole && root) return;
  const mode = policy.spec.mtls?.mode;
  const used = () => mesh.within('AuthorizationPolicy', namespace).some((one) => selects(selectorOf(one), selector));
  if (mode === 'DISABLE' || (mode === 'PERMISSIVE' && (whole || used()))) {
    const part = whole ? `namespace ${namespace}` : 'these workloads';
    yield {
      on: policy,
      path: ['spec', 'mtls', 'mode'],
      severity: mode === 'DISABLE' ? 'error' : 'warning',
      message: `${mode} allows ${root ? 'the whole mesh' : part} to accept calls without a certificate: such callers have no principal and no namespace.`,
    };
    return;
  }
  const port = whole ? undefined : openPort(mesh, policy);
  if (port === undefined) return;
  yield {
    on: policy,
    path: ['spec', 'portLevelMtls', port, 'mode'],
    severity: 'warning',
    message: `port ${port} accepts calls without a certificate: rules on principals and namespaces match no such caller.`,
  };
}

/** Finds a port for which a policy itself allows plain text, even if it also allows it for the whole workload. */
function openPort(mesh: MeshView, policy: PeerAuthentication): string | undefined {
  const served = servedPorts(mesh, policy.metadata.namespace, selectorOf(policy) ?? {});
  return Object.entries(record<{ mode?: string }>(policy.spec.portLevelMtls)).find(
    ([port, { mode }]) => (mode === 'PERMISSIVE' || mode === 'DISABLE') && (!served || served.has(Number(port))),
  )?.[0];
}

/**
 * Lists the Pod ports that Services route to. On all other ports, such as those for metrics or probes, plain text is
 * normal. Returns undefined if the ports are unknown, because the files contain no matching Service or no Pod with a
 * named port.
 */
function servedPorts(
  mesh: MeshView,
  namespace: string,
  pod: Readonly<Record<string, string>>,
): ReadonlySet<number> | undefined {
  const pods = mesh.podsIn(namespace).filter((one) => selects(pod, one.labels));
  const known = pods.length > 0 ? pods : [{ namespace, labels: pod, portNames: new Map<string, number>() }];
  const ports = known.flatMap((one) =>
    mesh
      .servicesBefore(one)
      .flatMap(({ spec }) => items(spec.ports).filter(isTcp))
      .map((port) => targetPortOf(one.portNames, port)),
  );
  return ports.length === 0 || ports.includes(undefined) ? undefined : new Set(ports as readonly number[]);
}

/** Reports DestinationRules that disable mutual TLS, because their callers then have no identity. */
const clientTlsDisabled: Rule = {
  code: 'MP504',
  name: 'client-tls-disabled',
  severity: 'warning',
  title: 'A DestinationRule disables mutual TLS to a service of the mesh',
  fix: 'Remove `tls` (Istio then uses mutual TLS automatically), or set `ISTIO_MUTUAL`.',
  check: each(clientTlsSettings, ({ on, value }, { mesh, granted }) => {
    const { clusterDomain } = mesh.config;
    const host = fullHost(on.spec.host ?? '', on.metadata.namespace, clusterDomain);
    if (!isInMesh(host, clusterDomain) || !sendsNoCertificate(value)) return undefined;
    return {
      at: value.mode === undefined ? [] : ['mode'],
      severity: granted.has(host) ? 'error' : 'warning',
      message: `callers of ${host} send no certificate: its policies see no principal and no namespace, and a STRICT workload refuses the connection.`,
    };
  }),
};

function sendsNoCertificate(tls: ClientTls): boolean {
  const mode = clientTlsMode(tls);
  return mode === 'DISABLE' || (mode === 'SIMPLE' && tls.insecureSkipVerify === true);
}

/**
 * Checks whether a host covers services in the mesh. The API server is excluded because it has a certificate of its
 * own.
 */
function isInMesh(host: string, clusterDomain: string): boolean {
  const name = serviceName(host, clusterDomain);
  if (name) return name.namespace !== 'default' || name.name !== 'kubernetes';
  return host === '*' || host === '*.local' || host.endsWith(`.${clusterDomain}`);
}

/** Lists the client TLS settings of all DestinationRules, of their subsets, and of individual ports. */
function clientTlsSettings({ mesh }: LintContext): readonly Part<ClientTls, DestinationRule>[] {
  return mesh
    .all('DestinationRule')
    .flatMap((on) => [{ on, path: ['spec'], value: on.spec }, ...itemsOf(on, ['spec', 'subsets'], on.spec.subsets)])
    .flatMap(({ on, path, value: { trafficPolicy } }) => [
      { on, path: [...path, 'trafficPolicy'], value: trafficPolicy },
      ...itemsOf(on, [...path, 'trafficPolicy', 'portLevelSettings'], trafficPolicy?.portLevelSettings),
    ])
    .flatMap(({ on, path, value }) => (value?.tls ? [{ on, path: [...path, 'tls'], value: value.tls }] : []));
}

/**
 * Explains why workloads accept plain text. Returns undefined if nothing in the files makes them accept it.
 * @param wanted the labels of the workloads in question, or an empty object for the whole namespace
 */
function plainTextPort(
  context: LintContext,
  namespace: string,
  wanted: Readonly<Record<string, string>>,
  isMeant: (pod: Readonly<Record<string, string>>) => boolean,
): string | undefined {
  const pods = context.mesh.podsIn(namespace).filter((pod) => isMeant(pod.labels));
  const opening = (pods.length > 0 ? pods.map((pod) => pod.labels) : [wanted])
    .map((given) => findOpening(context, namespace, given))
    .find((one) => one !== undefined);
  if (!opening) return undefined;
  const { by, mode, port } = opening;
  return by ? `${identityOf(by)} sets ${mode}${port === undefined ? '' : ` for port ${port}`}` : BY_DEFAULT;
}

interface Opening {
  readonly mode: MutualTlsMode;
  /** The policy that sets the mode. Undefined if it is Istio's default. */
  readonly by: PeerAuthentication | undefined;
  /** The only port with this mode. Undefined if it is the mode of the workload. */
  readonly port?: number;
}

/**
 * Finds what makes a workload accept plain text. Unless the mesh was read completely, its default may be set in other
 * files.
 */
function findOpening(
  { mesh, complete }: LintContext,
  namespace: string,
  pod: Readonly<Record<string, string>>,
): Opening | undefined {
  const { mode, by, open } = resolveMutualTlsMode(mesh, namespace, pod);
  return mode !== 'STRICT' && (by || complete) ? { mode, by } : open;
}

/**
 * Determines the mutual TLS mode of a workload in the same way as istiod. Also returns the policy that decides, and a
 * Service port that accepts plain text despite that mode.
 */
export function resolveMutualTlsMode(
  mesh: MeshView,
  namespace: string,
  pod: Readonly<Record<string, string>>,
): {
  readonly mode: MutualTlsMode;
  readonly by: PeerAuthentication | undefined;
  readonly open: (Opening & { readonly port: number }) | undefined;
} {
  const { general, ports } = peerModesOf(mesh, { namespace, labels: pod, kind: 'sidecar' });
  const served = ports.size > 0 ? servedPorts(mesh, namespace, pod) : undefined;
  const [open] = [...ports].flatMap(([port, { mode, policy }]) => {
    const isOpen =
      mode !== 'STRICT' && (general.mode === 'STRICT' || policy !== general.policy) && (!served || served.has(port));
    return isOpen && policy ? [{ port, mode, by: policy }] : [];
  });
  return { mode: general.mode, by: general.policy, open };
}

export const MUTUAL_TLS_RULES: readonly Rule[] = [denyWithoutMtls, permissiveMtls, clientTlsDisabled];
