/** The third vote: the result of `diff` for the calls that Envoy and the evaluator decide, by its formulas and by its list of changes. */

import { compareMeaning, type Call as ToldCall } from '@meshpass/analysis/diff';
import type { Call } from '@meshpass/analysis/evaluate';
import { DEFAULT_MESH_CONFIG, type Resource } from '@meshpass/istio';
import { indexStates } from '../../../packages/analysis/src/diff/compare.ts';
import { meets } from '../../../packages/analysis/src/diff/formula/call.ts';
import { tokenLocations } from '../../../packages/analysis/src/diff/token-condition.ts';
import { asTold } from './as-told.ts';
import { type Enforced, LATER } from './harness.ts';
import { PORTS } from './target.ts';

/** The state of the round before. */
export interface Before extends Enforced {
  readonly calls: readonly Call[];
  /** Response of Envoy to a call. */
  readonly seen: ReadonlyMap<Call, boolean>;
}

export function threeWay(before: Before | undefined, { authorizer, resources }: Enforced) {
  const { workload } = authorizer;
  // The youngest, as it is before it is applied.
  const unapplied = resources.map((one) => (one.metadata.name.startsWith(LATER) ? withoutAge(one) : one));
  const old = before?.resources ?? resources;
  const [was, is] = indexStates(old, unapplied, DEFAULT_MESH_CONFIG);
  const places = tokenLocations([...old, ...unapplied]);
  const changes = before ? compareMeaning(old, unapplied, DEFAULT_MESH_CONFIG, { listed: 1 }).changes : [];
  const headersAsked = new Set([...headersOf(old), ...headersOf(unapplied)]);
  const prefixes = prefixesOf([...old, ...unapplied]);
  const at = { ...workload, name: workload.name };
  const result = {
    asked: 0,
    pairs: 0,
    changed: 0,
    unknown: 0,
    seen: new Map<Call, boolean>(),
    /** @returns disagreements of `diff` */
    ask: (call: Call, open: boolean): readonly object[] => {
      result.seen.set(call, open);
      // In plain text the first bytes decide, regardless of the announced protocol.
      const mutual = call.principal !== undefined && authorizer.peerMode(call.port).mode !== 'DISABLE';
      const spoken = (mutual && call.announces) || (call.http ? 'http' : 'tcp');
      const told = asTold(call, call.port === PORTS.tcp ? 'tcp' : spoken, places, prefixes, headersAsked);
      if (!told) {
        result.unknown++;
        return [];
      }
      const disagreements: object[] = [];
      result.asked++;
      const said = meets(told, is.at(at, call.port, spoken).allowed);
      if (said !== open) disagreements.push({ diff: 'after', said, seen: open, call: shown(told), port: call.port });
      const earlier = before?.seen.get(call);
      if (earlier === undefined) return disagreements;
      result.pairs++;
      if (meets(told, was.at(at, call.port, spoken).allowed) !== earlier)
        disagreements.push({ diff: 'before', seen: earlier, call: shown(told), port: call.port });
      if (earlier === open) return disagreements;
      result.changed++;
      const listed = changes.some(({ where }) =>
        where.some((one) => one.workload.labels.app === workload.labels.app && (one.port ?? call.port) === call.port),
      );
      if (!listed) disagreements.push({ diff: 'lists no change', earlier, open, call: shown(told), port: call.port });
      return disagreements;
    },
  };
  return result;
}

function withoutAge(one: Resource): Resource {
  const { creationTimestamp: _, ...metadata } = one.metadata;
  return Object.defineProperty({ ...one, metadata }, 'origin', { value: one.origin, enumerable: false }) as Resource;
}

/** Prefix that a header needs to be read; a header without its prefix is ignored. */
function prefixesOf(resources: readonly Resource[]): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>([['authorization', new Set(['Bearer '])]]);
  for (const one of resources) {
    for (const { fromHeaders = [] } of one.kind === 'RequestAuthentication' ? (one.spec.jwtRules ?? []) : []) {
      for (const { name, prefix = '' } of fromHeaders) {
        const known = found.get(name.toLowerCase()) ?? new Set();
        found.set(name.toLowerCase(), known.add(prefix));
      }
    }
  }
  return found;
}

function headersOf(resources: readonly Resource[]): readonly string[] {
  return resources.flatMap((one) =>
    one.kind === 'AuthorizationPolicy'
      ? (one.spec.rules ?? []).flatMap(({ when = [] }) =>
          when.flatMap(({ key }) => /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase() ?? []),
        )
      : [],
  );
}

function shown({ flags, texts, lists }: ToldCall): object {
  return { flags: [...flags], texts: Object.fromEntries(texts), lists: Object.fromEntries(lists) };
}
