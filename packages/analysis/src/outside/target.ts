/**
 * Finds the targets of routes: the destinations, with aliases resolved, and the calls of anonymous callers outside the
 * mesh that the policies at the entry point and at the workload allow. The callers have no token, no certificate, and
 * an address that no policy lists. The workload sees the identity of the gateway.
 */
import { fullHost, type HttpMatch, type MeshView } from '@meshpass/istio';
import { distinct, items, text as textOf } from '@meshpass/istio/members';
import {
  ALWAYS,
  all,
  any,
  type Condition,
  constant,
  NEVER,
  not,
  opaque,
  opaqueReason,
  replaceTests,
  type Test,
  text,
} from '../diff/formula/condition.ts';
import { passesTest } from '../diff/formula/text-test.ts';
import { resolveDestination } from '../exposure/destination.ts';
import { findEnforcer } from '../exposure/enforcer.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { countReaders, whyReadersUnknown } from '../exposure/gateway-pods.ts';
import {
  type EnforcementPoint,
  entryEnforcementPoints,
  listenerPorts,
  type WorkloadPoint,
  workloadEnforcementPoints,
} from '../exposure/identity.ts';
import { isNarrow } from '../exposure/internal.ts';
import { findAddedCheck } from '../exposure/patches.ts';
import type { Peer } from '../exposure/unauthenticated.ts';
import { preRewriteCondition, type Rewrite } from '../routes/rewrite.ts';
import { clientTlsOf, gatewayCallers, serverNameOf } from './pods-of.ts';
import type { Target } from './router.ts';

/**
 * Returns the targets of an exposure. An alias, which is either a Service of type ExternalName or a ServiceEntry with
 * one endpoint, is replaced by the destination that it refers to. The result is empty if the entry point does not know
 * the host.
 * @param match the match that selected the calls, which determines how the route rewrites them
 */
export function targetsAt(mesh: MeshView, given: Exposure, entry: EntryPoint, match?: HttpMatch): readonly Target[] {
  const rewrite = given.rewrite(match);
  return resolveDestination(mesh, given).map((exposure) => {
    let condition: Condition | undefined;
    return {
      destination: { ...exposure.destination, host: outsideCluster(mesh, exposure) ?? exposure.destination.host },
      // The condition is computed lazily, because it is not needed to evaluate a single call.
      get condition() {
        condition ??= all([
          isDefined(mesh, entry, exposure),
          atOwn(entry),
          atEntry(mesh, exposure, entry),
          atWorkload(mesh, exposure, entry, rewrite),
        ]);
        return condition;
      },
      path: given.destinationPath,
      rewrite,
    };
  });
}

/** Returns an opaque condition, unless all Pods of the entry point receive the destination's ServiceEntry. */
function isDefined(mesh: MeshView, entry: EntryPoint, { external }: Exposure): Condition {
  return external === undefined || countReaders(mesh, entry, external) === 'all'
    ? ALWAYS
    : opaque(whyReadersUnknown(entry, external));
}

/** Returns the external host that a Service of type ExternalName refers to. */
function outsideCluster(mesh: MeshView, { service }: Exposure): string | undefined {
  if (service?.spec.type !== 'ExternalName') return undefined;
  const host = textOf(service.spec.externalName);
  return host === undefined ? undefined : fullHost(host, service.metadata.namespace, mesh.config.clusterDomain);
}

/**
 * Returns the calls that the entry point's own checks allow. If the files do not show whether there is a check, every
 * call is assumed to be allowed (see `assumed` in a comparison). If no file publishes a gateway, the result is unknown
 * instead, because a Service that publishes it could make everything reachable.
 */
function atOwn({ own: { state, reason }, kind, proxy, object }: EntryPoint): Condition {
  if (state === 'required') return NEVER;
  const isGateway = object !== undefined && proxy.by === 'istio' && /Gateway$/.test(kind);
  if (state === 'unknown' && isGateway)
    return opaque(proxy.selector ? 'nothing among the files publishes the gateway' : reason);
  return state === 'assumed' ? opaque(reason) : ALWAYS;
}

function atEntry(mesh: MeshView, exposure: Exposure, entry: EntryPoint): Condition {
  if (entry.proxy.by !== 'istio' || entry.proxy.withoutPolicies) return ALWAYS;
  const byProxy = entryEnforcementPoints(mesh, exposure, entry).map((points) => {
    const [{ proxy } = { proxy: undefined }] = points;
    const check = proxy && findAddedCheck(mesh, 'GATEWAY', proxy, listenerPorts(mesh, proxy, entry.ports));
    return all([
      oneOf(points, (one) =>
        replaceTests(one.portPolicy.allowed, (test) =>
          decided(test, { peer: undefined, sni: undefined, before: () => undefined }),
        ),
      ),
      check === undefined ? ALWAYS : opaque(check),
    ]);
  });
  return either(byProxy, 'it is not known which Pods are the gateway, and their policies differ');
}

function atWorkload(mesh: MeshView, exposure: Exposure, entry: EntryPoint, rewrite: Rewrite): Condition {
  const points = workloadEnforcementPoints(mesh, exposure, entry);
  if (points.length === 0) return ALWAYS;
  const withoutIdentity = whyTlsUnknown(mesh, exposure, entry);
  const sni = serverNameOf(exposure.destination);
  const before: Caller['before'] = (test) => preRewriteCondition(rewrite, test, mesh.config.pathNormalization);
  const allowed = ({ proxy, port, calls, portPolicy }: WorkloadPoint): Condition => {
    // Some of the ports that could be the destination may bypass the sidecar.
    const enforcer = findEnforcer(mesh, proxy, port, exposure, entry);
    if (enforcer.proxy === 'none') return ALWAYS;
    if (enforcer.proxy === 'unknown') return opaque(`the proxy at ${proxy.name} is not known`);
    if (portPolicy.unknown !== undefined) return opaque(portPolicy.unknown);
    const peers = calls.peers.length > 0 ? calls.peers : [undefined];
    const check = findAddedCheck(mesh, 'SIDECAR_INBOUND', proxy, port === undefined ? [] : [port]);
    const byPeer = (peer: Peer | undefined) =>
      replaceTests(portPolicy.allowed, (test) => decided(test, { peer, sni, before }));
    const passes = any(peers.map(byPeer));
    return all([
      withoutIdentity === undefined ? passes : either([passes, byPeer(undefined)], withoutIdentity),
      check === undefined ? ALWAYS : opaque(check),
    ]);
  };
  const byWorkload = Map.groupBy(points, ({ proxy }) => proxy);
  return any([...byWorkload.values()].map((some) => oneOf(some, allowed)));
}

/** Explains why DestinationRules make it impossible to know whether the workload sees the gateway's identity. */
function whyTlsUnknown(mesh: MeshView, exposure: Exposure, entry: EntryPoint): string | undefined {
  if (entry.proxy.by !== 'istio') return undefined;
  const { host, port, subset } = exposure.destination;
  const ports = port === undefined ? items(exposure.service?.spec.ports).map((one) => one.port) : [port];
  return gatewayCallers(mesh, entry.proxy)
    .flatMap((gateway) => ports.map((one) => clientTlsOf(mesh, gateway, { host, port: one, subset }).unknown))
    .find((unknown) => unknown !== undefined);
}

/**
 * Combines the conditions for all possible ports. If they differ, the result is unknown, because only one of the ports
 * is actually used.
 */
function oneOf<T extends EnforcementPoint>(points: readonly T[], allowed: (point: T) => Condition): Condition {
  const different = distinct(points, ({ portPolicy }) => portPolicy.key);
  return either(different.map(allowed), 'it is not known at which port, and policies differ by port');
}

function either(conditions: readonly Condition[], reason: string): Condition {
  if (conditions.length < 2) return conditions[0] ?? ALWAYS;
  if (conditions.every((one) => one === conditions[0])) return conditions[0]!;
  return any([all(conditions), all([any(conditions), opaque(reason)])]);
}

interface Caller {
  readonly peer: Peer | undefined;
  /** The server name that the gateway uses for its connection to the workload. */
  readonly sni: string | undefined;
  /**
   * Returns the calls that pass a test after the route has changed them. Undefined if the route does not change the
   * tested field.
   */
  readonly before: (test: Extract<Test, { readonly op: 'text' }>) => Condition | undefined;
}

/** Replaces a test with the result that it has for a given caller. */
function decided(test: Test, caller: Caller): Condition {
  switch (test.op) {
    case 'address':
      return addressCondition(test, caller);
    case 'flag':
      if (test.field === 'peer') return constant(caller.peer !== undefined);
      if (opaqueReason(test.field) !== undefined) return test;
      return test.field.startsWith('custom:')
        ? opaque(`the authorizer ${test.field.slice('custom:'.length)} decides`)
        : NEVER;
    default:
      return textCondition(test, caller);
  }
}

function addressCondition({ field, range }: Extract<Test, { readonly op: 'address' }>, { peer }: Caller): Condition {
  if (field === 'destination.ip') return opaque(`a policy tests the destination address ${range}`);
  if (field === 'source.ip' && peer) return opaque(`a policy tests the address of the gateway, ${range}`);
  return constant(!isNarrow(range));
}

function textCondition(test: Extract<Test, { readonly op: 'text' }>, { peer, sni, before }: Caller): Condition {
  const { field } = test;
  if (field.startsWith('token.')) return NEVER;
  if (field.startsWith('peer.')) return peerCondition(test, peer);
  if (field === 'connection.sni') {
    return sni === undefined
      ? opaque('a policy tests the SNI')
      : constant(peer !== undefined && passesTest(test.test, sni));
  }
  if (field.startsWith('metadata:')) return opaque(`a policy tests ${field}`);
  return before(test) ?? (field === 'host' ? hostTest(test) : test);
}

const PORT: Condition = { op: 'flag', field: 'host.port' };

/**
 * Translates a policy's test of the host. The routes of a host also match if the Host header includes a port, but
 * policies compare the header as a whole: `shop.example.com` does not match `shop.example.com:443`, while
 * `shop.example.com:*` does.
 */
function hostTest({ test }: Extract<Test, { readonly op: 'text' }>): Condition {
  if (test.form !== 'exact' && test.form !== 'prefix' && test.form !== 'suffix') return text('host', test);
  const [name = '', port] = test.text.split(':');
  if (port === undefined) return all([text('host', test), test.form === 'prefix' ? ALWAYS : not(PORT)]);
  const host =
    test.form !== 'suffix'
      ? text('host', { form: 'exact', text: name })
      : name === ''
        ? ALWAYS
        : text('host', { form: 'suffix', text: name });
  return all([
    host,
    PORT,
    test.form === 'prefix' && port === '' ? ALWAYS : opaque(`a policy tests the port ${port} in the Host header`),
  ]);
}

function peerCondition({ field, test }: Extract<Test, { readonly op: 'text' }>, peer: Peer | undefined): Condition {
  if (!peer) return NEVER;
  if (field === 'peer.trustDomain') return constant(passesTest(test, peer.trustDomain));
  if (field === 'peer.namespace') return constant(passesTest(test, peer.namespace));
  return peer.serviceAccount === undefined
    ? opaque('a policy tests the ServiceAccount of the gateway, which is not among the files')
    : constant(passesTest(test, peer.serviceAccount));
}
