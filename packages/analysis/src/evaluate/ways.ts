/**
 * Determines which paths a call to a workload can take. Callers in ambient mode go through the Service's waypoint,
 * while callers with a sidecar connect directly to its Pods. If a sidecar does not accept HBONE, ztunnels send plain
 * text to it.
 */
import { createMemo, memoize } from '@meshpass/identity';
import {
  gatewaysUseWaypoint,
  type MeshView,
  type Service,
  servicePortProtocols,
  type Waypoint,
  type Workload,
} from '@meshpass/istio';
import { type CallerProxy, listCallerProxies } from '../caller-proxy.ts';
import { type Authorizer, createAuthorizer } from './authorizer.ts';
import type { Call, Decision } from './call.ts';

/** The waypoint in front of a Service port. */
export interface WaypointAuthorizer {
  /** The namespace and name of the waypoint, such as `shop/gate`. */
  readonly name: string;
  readonly authorizer: Authorizer;
  /** The port and address of the Service, which the waypoint's policies match against. */
  readonly port: number;
  readonly address: string | undefined;
  /** The principals that the waypoint uses when it calls the workload. */
  readonly principals: readonly string[];
  /** Whether gateways send their calls to the waypoint instead of directly to the Pods. */
  readonly forGateways: boolean;
}

type KnownProxy = Extract<CallerProxy, 'ambient' | 'sidecar' | 'gateway'>;

/** The proxies in front of a workload's port. */
export interface PortProxies {
  readonly authorizer: Authorizer;
  readonly proxy: 'sidecar' | 'ztunnel';
  /** The waypoint of the Service. Only set if the workload is in ambient mode. */
  readonly waypoint?: WaypointAuthorizer;
  /**
   * Whether the workload's sidecar accepts HBONE, in which case callers in ambient mode have an identity. Undefined if
   * this is unknown.
   */
  readonly acceptsHbone?: boolean;
  /** Returns the kind of proxy that workloads with a given principal have, or undefined if it is unknown. */
  readonly callerProxy: (principal: string) => KnownProxy | undefined;
}

/** Compiles a waypoint's policies for a single port of a Service. */
export function compileWaypointAuthorizer(
  view: MeshView,
  waypoint: Waypoint,
  service: Service,
  port: number,
): WaypointAuthorizer {
  const { metadata, spec } = service;
  const { name, namespace } = waypoint.gateway.metadata;
  const workload: Workload = { ...waypoint.proxy, name, portNames: new Map() };
  const authorizer = createAuthorizer(view, workload, {
    service: { kind: 'Service', namespace: metadata.namespace, name: metadata.name },
    protocols: servicePortProtocols(service),
  });
  const address = spec.clusterIP;
  return {
    name: `${namespace}/${name}`,
    authorizer,
    port,
    address: address === '' ? undefined : address,
    principals: waypoint.principals,
    forGateways: gatewaysUseWaypoint(view, service),
  };
}

/** Decides a call that goes through a waypoint, which then calls the workload with its own identity. */
export function decideThroughWaypoint(
  guard: WaypointAuthorizer,
  authorizer: Authorizer,
  call: Call,
): readonly Decision[] {
  const { sni: _, announces: __, destinationIp: ___, ...seen } = call;
  const atWaypoint: Decision = {
    ...guard.authorizer.decide({
      ...seen,
      port: guard.port,
      ...(guard.address !== undefined && { destinationIp: guard.address }),
    }),
    at: `waypoint ${guard.name}`,
  };
  if (!atWaypoint.allowed) return [atWaypoint];
  return guard.principals.map((principal) => {
    const { port, destinationIp } = call;
    const forwarded: Call = { port, principal, ...(destinationIp !== undefined && { destinationIp }) };
    const atPod = authorizer.decide(forwarded);
    return atPod.allowed ? atWaypoint : { ...atPod, at: `${atPod.at ?? 'sidecar'} behind waypoint ${guard.name}` };
  });
}

export interface Way {
  readonly decision: Decision;
  /** The path that the call takes, such as `through waypoint shop/gate`. */
  readonly by: string;
  /** Explains why the call could take more than one path. */
  readonly why: string;
}

/**
 * Decides a call for each path that it could take. There is only one path if the caller's proxy is known or does not
 * make a difference.
 */
export function decideEveryPath(guarded: PortProxies, call: Call): readonly [Way, ...Way[]] {
  const { authorizer, waypoint, proxy } = guarded;
  const direct = (by: string, one: Call = call): Way => ({ decision: authorizer.decide(one), by, why: NOT_KNOWN });
  if (call.principal === undefined) return [direct('without mutual TLS')];
  const caller = guarded.callerProxy(call.principal);
  if (proxy === 'sidecar') {
    const { principal: _, sni: __, ...plain } = call;
    if (caller !== 'ambient' || guarded.acceptsHbone === true) return [direct('with mutual TLS')];
    const asPlain: Way = { ...direct('in plain text', plain), why: HBONE };
    return guarded.acceptsHbone === false ? [asPlain] : [{ ...direct('by HBONE'), why: HBONE }, asPlain];
  }
  if (!waypoint) return [direct('by HBONE')];
  const through = (): readonly Way[] =>
    decideThroughWaypoint(waypoint, authorizer, call).map((decision) => ({
      decision,
      by: `through waypoint ${waypoint.name}`,
      why: ACCOUNTS,
    }));
  const way = call.way ?? (waypoint.principals.includes(call.principal) ? 'pod' : wayOf(caller, waypoint));
  if (way === 'pod') return [direct('straight to the Pod')];
  const [first, ...rest] = through() as [Way, ...Way[]];
  return way === 'waypoint' ? [first, ...rest] : [{ ...first, why: NOT_KNOWN }, ...rest, direct('straight to the Pod')];
}

const NOT_KNOWN = 'it is not known whether the caller is in ambient mode';
const HBONE = 'the caller is in ambient mode, and it is not known whether the sidecar accepts HBONE';
const ACCOUNTS = 'the Pods of the waypoint have several ServiceAccounts';

function wayOf(caller: KnownProxy | undefined, { forGateways }: WaypointAuthorizer): Call['way'] {
  if (caller === 'ambient') return 'waypoint';
  if (caller === 'gateway') return forGateways ? 'waypoint' : 'pod';
  return caller === 'sidecar' ? 'pod' : undefined;
}

/**
 * Determines the kind of proxy that workloads with a given principal have. If no such workload is known, uses the proxy
 * that their namespace implies.
 */
export function callerProxy(view: MeshView, principal: string): KnownProxy | undefined {
  return proxiesIn(view)(principal, () => {
    const [, , namespace = '', , account = ''] = principal.split('/');
    const [proxy, ...others] = listCallerProxies(view, namespace, account).proxies;
    const isKnown = others.length === 0 && (proxy === 'ambient' || proxy === 'sidecar' || proxy === 'gateway');
    return isKnown ? proxy : undefined;
  });
}

/** Results are cached for each mesh, because a matrix looks up every caller at every endpoint. */
const proxiesIn = memoize((_view: MeshView) => createMemo());
