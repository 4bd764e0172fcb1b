/**
 * Represents the routing tables of entry points in the same form for every kind of object. A listener has virtual
 * hosts, of which the most specific one applies. A virtual host has steps, of which the first one that matches applies.
 */
import { memoize } from '@meshpass/identity';
import { coversHost, type GatewayServer, type KubeObject, type Path, serverHost } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, not, text } from '../diff/formula/condition.ts';
import type { GatewayTable } from '../exposure/entries/gateway-tables.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { hostCondition, type Listener } from '../routes/match-condition.ts';
import { indexPaths } from '../routes/overlap.ts';
import type { Rewrite } from '../routes/rewrite.ts';

/** A destination that a step forwards calls to. */
export interface Target {
  readonly destination: Exposure['destination'];
  /** The calls that are allowed by all policies, both in front of the destination and at its workloads. */
  readonly condition: Condition;
  /** The path to the destination within the object that defines the step. */
  readonly path: Path;
  /** The changes that the route makes to the request. */
  readonly rewrite: Rewrite;
}

export interface Step {
  readonly on: KubeObject;
  readonly path: Path;
  /** The calls that this step matches, regardless of their host and of any earlier steps. */
  readonly condition: Condition;
  /** The destinations. Empty if the entry point itself responds to the call. */
  readonly targets: readonly Target[];
  /** How the entry point responds if it answers the call itself, such as `redirects it`. */
  readonly answer?: string;
  /** The HTTP status of the entry point's own response. */
  readonly status?: number;
  /** Whether the match tests token claims. If so, `condition` only applies to callers without a token. */
  readonly testsClaims?: boolean;
  readonly answersPreflights?: boolean;
  /** Whether fault injection aborts some of the calls. */
  readonly abortsSome?: boolean;
}

export interface VirtualHost {
  readonly host: string;
  /** The object that declares the host. */
  readonly on: KubeObject;
  readonly steps: readonly Step[];
}

/** A step with its rank. Ranks are compared number by number, and the step with the highest rank comes first. */
export interface RankedStep {
  readonly step: Step;
  readonly rank: readonly number[];
}

/** The routing table of a single listener. */
export interface Router {
  readonly listener: Listener;
  readonly entry: EntryPoint;
  readonly virtualHosts: readonly VirtualHost[];
  /** Whether calls on any listener may reach this router. */
  readonly anywhere?: true;
  /** The routing table of Istio Gateways that this router was created from. */
  readonly table?: GatewayTable;
}

/** Returns the first server of an Istio Gateway. A TLS listener has only one. */
export function serverOf({ table }: Router): GatewayServer | undefined {
  return table?.servers[0]?.server;
}

/** Lists the server names of the first server of an Istio Gateway, in lowercase. */
export function serverNames(router: Router): readonly string[] {
  return texts(serverOf(router)?.hosts).map((written) => serverHost(written, '').host.toLowerCase());
}

/**
 * Merges the steps of all objects that share a host. If two steps have the same rank, the one from the earlier object
 * comes first.
 */
export function virtualHostsOf(
  hosts: readonly (Pick<VirtualHost, 'host' | 'on'> & { readonly ranked: readonly RankedStep[] })[],
): readonly VirtualHost[] {
  return [...Map.groupBy(hosts, ({ host }) => host)].map(([host, some]) => {
    const ranked = [...new Set(some.flatMap((one) => one.ranked))];
    return { host, on: some[0]!.on, steps: ranked.sort(byPrecedence).map(({ step }) => step) };
  });
}

function byPrecedence({ rank: a }: RankedStep, { rank: b }: RankedStep): number {
  return b.map((one, index) => one - (a[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

/** The port to use in the `listener` field if the entry point is not in the files. */
export const UNKNOWN_PORT = '?';

/** Formats the protocol and port of a listener, such as `https:443`. */
export function formatListener({ protocol, port }: Listener): string {
  return `${protocol}:${port ?? UNKNOWN_PORT}`;
}

/** Lists the virtual hosts with the calls that each of them receives on any listener. The most specific host wins. */
export const hostConditions = memoize(({ virtualHosts }: Router): readonly (readonly [VirtualHost, Condition])[] =>
  virtualHosts.map((one) => {
    const narrower = one.host.startsWith('*')
      ? virtualHosts.filter((other) => other.host !== one.host && coversHost(one.host, other.host))
      : [];
    return [one, all([hostCondition(one.host), ...narrower.map(({ host }) => not(hostCondition(host)))])];
  }),
);

/** Returns the calls that a listener accepts. Internal entry points only accept calls from their private network. */
export function listenerCondition({ listener, entry, anywhere }: Router): Condition {
  return all([
    anywhere ? ALWAYS : text('listener', { form: 'exact', text: formatListener(listener) }),
    ...(entry.internal === undefined ? [] : [{ op: 'flag', field: 'private' } as const]),
  ]);
}

/** Returns the calls that a router forwards to a given destination. */
export function callsReaching(router: Router, destination: string): Condition {
  const found = (stepsByDestination(router).get(destination) ?? []).map(({ steps, index, host }) => {
    const { condition, targets } = steps[index]!;
    const meant = targets.filter((target) => formatDestination(target) === destination);
    // Only earlier steps with an overlapping path are excluded, because the others would merely enlarge the formula.
    const earlier = pathsOf(steps)
      .before(index)
      .map((position) => steps[position]!.condition);
    return all([host, condition, not(any(earlier)), any(meant.map((target) => target.condition))]);
  });
  return all([listenerCondition(router), any(found)]);
}

const pathsOf = memoize((steps: readonly Step[]) => indexPaths(steps.map(({ condition }) => condition)));

/** Lists the steps that could match a call with the given path, in their original order. */
export function stepsAt({ steps }: VirtualHost, path: string): readonly Step[] {
  return pathsOf(steps)
    .at(path)
    .map((position) => steps[position]!);
}

/** Finds the steps that forward calls to each destination, with the calls that reach their virtual host. */
const stepsByDestination = memoize((router: Router) => {
  const found = hostConditions(router).flatMap(([{ steps }, host]) =>
    steps.flatMap(({ targets }, index) =>
      [...new Set(targets.map(formatDestination))].map((destination) => ({ destination, steps, index, host })),
    ),
  );
  return Map.groupBy(found, ({ destination }) => destination);
});

/** Lists all destinations that a router forwards calls to. */
export function routerDestinations(router: Router): readonly string[] {
  return [...stepsByDestination(router).keys()];
}

/** Formats a destination, such as `orders.shop.svc.cluster.local:8080`, followed by the subset if there is one. */
export function formatDestination({ destination: { host, port, subset } }: Pick<Target, 'destination'>): string {
  return `${host}${port === undefined ? '' : `:${port}`}${subset === undefined ? '' : ` (subset ${subset})`}`;
}
