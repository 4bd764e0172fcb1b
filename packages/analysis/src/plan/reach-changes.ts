/** Determines the calls that the holders of grants gain and lose when the access file changes. */

import { grantNamespace } from '@meshpass/identity';
import { compare, distinct } from '@meshpass/istio/members';
import { describeProduct } from '../diff/describe.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import { NONE, type Node } from '../diff/formula/diagram.ts';
import type { FieldExplanation } from '../diff/formula/explain.ts';
import { type AnalysisContext, callsAllowedByPort, serverOf } from './context.ts';
import { ordinaryCalls } from './workspace-calls.ts';

export interface ReachChange {
  readonly grant: string;
  readonly does: 'gains' | 'loses';
  /** The Service and its port, such as `orders.shop:8080`. */
  readonly service: string;
  /** The calls, such as `GET /orders/*`, with the claims that they require. For a TCP port, this is `connections`. */
  readonly what: string;
}

/**
 * Lists the calls that holders gain and lose, sorted by grant and Service. A workspace can reach a port if the mesh
 * gateway forwards calls to it and policies allow the call.
 * @param grantsBefore the grants that existed before the change. A new grant has no certificates yet, and no policy
 *   restricts its namespace. Without this list, it would seem that its holders already had access to every port of the
 *   other grants.
 */
export function findReachChanges(
  context: AnalysisContext,
  clusterDomain: string,
  grantsBefore: readonly string[],
): readonly ReachChange[] {
  const { space, indexes, endpoints, prepared, agreed, forwarded, open } = context;
  const { diagram, set, withText } = space;
  const found: ReachChange[] = [];
  const holders = [
    diagram.orAll(grantsBefore.map((name) => withText('peer.namespace', grantNamespace(name)))),
    set(context.holders),
  ] as const;
  const reached = (state: 0 | 1, endpoint: Endpoint, { host, port, sni }: ReturnType<typeof serverOf>): Node => {
    if (!open[state].has(host) || context.isUnseen(host, port)) return NONE;
    const allowed = callsAllowedByPort(context, indexes[state].at(endpoint.workload, endpoint.port, endpoint.protocol));
    // The server name comes first, because only a few grants match it.
    const possible = [prepared, agreed, forwarded].map(set);
    const named = diagram.andAll([allowed, withText('connection.sni', sni), holders[state], ...possible]);
    return named === NONE ? NONE : diagram.and(named, ordinaryCalls(space, context, { host, port }));
  };
  const given = new Set([...context.given, ...context.ordinarilyGiven]);
  const ports = endpoints.flatMap((endpoint) => endpoint.services.map((name) => ({ endpoint, name })));
  for (const { endpoint, name } of ports) {
    const service = serverOf(name, clusterDomain);
    const [before, after] = [reached(0, endpoint, service), reached(1, endpoint, service)];
    for (const [does, calls] of [
      ['gains', diagram.minus(after, before)],
      ['loses', diagram.minus(before, after)],
    ] as const) {
      for (const product of diagram.products(calls)) {
        const explained = space.explain(product);
        const said = describeProduct(explained, given);
        const http = [said.what, said.circumstances].filter((one) => one !== '').join(' ');
        const what = endpoint.protocol === 'tcp' ? 'connections' : http;
        for (const grant of grantsIn(explained)) found.push({ grant, does, service: name, what });
      }
    }
  }
  return distinct(found, (one) => JSON.stringify(one)).sort(
    (a, b) => compare(a.grant, b.grant) || compare(a.service, b.service),
  );
}

/** Returns the grants whose holders can make the explained calls. */
function grantsIn(explained: readonly FieldExplanation[]): readonly string[] {
  const holder = explained.find(({ field }) => field === 'peer.namespace');
  if (holder?.kind !== 'text' || holder.except) return [];
  return holder.values.map((namespace) => namespace.replace(/^meshpass-/, ''));
}
