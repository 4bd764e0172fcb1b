/** Who gains and who loses which call by a change of the access file: what holders of grants reach, before and after. */

import { grantNamespace } from '@meshpass/identity';
import { describe } from '../diff/describe.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import { NONE, type Node } from '../diff/formula/diagram.ts';
import { type AnalysisContext, letIn } from './context.ts';

export interface ReachChange {
  readonly grant: string;
  readonly does: 'gains' | 'loses';
  /** `orders.shop:8080` */
  readonly service: string;
  /** `GET /orders/*`, or `connections` on a TCP port. */
  readonly what: string;
}

/**
 * In the order of services and grants. A workspace reaches a port if the mesh gateway is open for it and policy lets it in.
 * @param grantsBefore Nobody holds a certificate of a grant that is not there yet. Without this its holders would be taken to
 * reach every port that another grant opens, because no guard stands against their namespace.
 */
export function reachChanges(
  context: AnalysisContext,
  clusterDomain: string,
  grantsBefore: readonly string[],
): readonly ReachChange[] {
  const { space, indexes, endpoints, prepared, agreed, open } = context;
  const { diagram, set, withText } = space;
  const found = new Map<string, ReachChange>();
  const holders = [
    diagram.orAll(grantsBefore.map((name) => withText('peer.namespace', grantNamespace(name)))),
    set(context.holders),
  ] as const;
  const reached = (state: 0 | 1, endpoint: Endpoint, service: Service): Node => {
    if (!open[state].has(service.host)) return NONE;
    const allowed = letIn(context, indexes[state].at(endpoint.workload, endpoint.port, endpoint.protocol));
    // The name first: by it few grants pass.
    return diagram.andAll([
      allowed,
      withText('connection.sni', service.sni),
      holders[state],
      set(prepared),
      set(agreed),
    ]);
  };
  for (const endpoint of endpoints) {
    for (const name of endpoint.services) {
      const service = serviceNamed(name, clusterDomain);
      const [before, after] = [reached(0, endpoint, service), reached(1, endpoint, service)];
      for (const [does, calls] of [
        ['gains', diagram.minus(after, before)],
        ['loses', diagram.minus(before, after)],
      ] as const) {
        for (const product of diagram.products(calls)) {
          const explained = space.explain(product);
          const holder = explained.find(({ field }) => field === 'peer.namespace');
          const grants = holder?.kind === 'text' && !holder.except ? holder.values : [];
          const what = endpoint.protocol === 'tcp' ? 'connections' : describe(explained).what;
          for (const namespace of grants) {
            const change = { grant: namespace.replace(/^meshpass-/, ''), does, service: name, what };
            found.set(JSON.stringify(change), change);
          }
        }
      }
    }
  }
  return [...found.values()].sort((a, b) => compareText(a.grant, b.grant) || compareText(a.service, b.service));
}

interface Service {
  readonly host: string;
  readonly sni: string;
}

function serviceNamed(name: string, clusterDomain: string): Service {
  const [service, port] = name.split(':') as [string, string];
  const host = `${service}.svc.${clusterDomain}`;
  return { host, sni: `outbound_.${port}_._.${host}` };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
