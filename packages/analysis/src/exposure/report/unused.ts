/**
 * Unused access: external ways, rules and grants that access logs of Istio's gateways and sidecars do not show.
 *
 * A doubtful line counts as a use of a way, because an operator may remove a way that is reported as unused.
 */

import { text } from '@meshpass/istio/members';
import type { ExposureEntry } from '../list.ts';
import { type LogFields, logFieldText, parseLogFields, pathOf, refusalOf } from './access-log.ts';
import { createRuleUsageCollector, type LoggedMesh, type RuleWithoutUse } from './unused-rules.ts';

export interface UnusedAccess {
  /** External ways that no line used, in the order of the list. */
  readonly ways: readonly ExposureEntry[];
  /** Rules and grants without a use, and those of which the logs do not show it. Empty if no mesh is given. */
  readonly rules: readonly RuleWithoutUse[];
  /** Number of external ways whose calls no proxy of Istio accepts, so that their use is not in its logs. */
  readonly unlogged: number;
  /** Number of lines, without empty ones. */
  readonly lines: number;
  /** Number of lines that are not an access log in JSON. */
  readonly unreadable: number;
  /** Earliest and latest `start_time`, in ISO 8601; undefined if no line has one. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** Reader of access logs that keeps the ways without a use, but no line. */
export interface UsageReader {
  /** Reads one line; undefined for a line that is too long to read. */
  readonly read: (line: string | undefined) => void;
  readonly result: () => UnusedAccess;
}

/** Call or connection in a log. */
interface Logged {
  readonly host: string;
  readonly method: string | undefined;
  readonly path: string | undefined;
  /** Destination; undefined if the line does not contain it, as at a sidecar. */
  readonly to: { readonly host: string; readonly port: number; readonly subset: string } | undefined;
}

/**
 * Starts to look for uses of the external ways, and of the rules and grants of a mesh.
 * @param ways result of `listExposures`
 * @example
 * ```ts
 * import { listExposures, usageOf } from '@meshpass/analysis/exposure';
 * const usage = usageOf(listExposures([]));
 * usage.read('{"start_time": "2026-11-30T08:00:00.000Z", "authority": "shop.example.com", "path": "/"}');
 * usage.result().from; // => '2026-11-30T08:00:00.000Z'
 * ```
 */
export function usageOf(ways: readonly ExposureEntry[], mesh?: LoggedMesh): UsageReader {
  const external = ways.filter(({ reach }) => reach === 'external');
  const judged = external.filter(({ entry }) => entry.proxy === 'istio');
  const candidates = new Candidates(judged);
  const rules = mesh && createRuleUsageCollector(mesh);
  let [lines, unreadable] = [0, 0];
  let [from, to] = [Infinity, -Infinity];
  return {
    read(line) {
      if (line?.trim() === '') return;
      lines++;
      const fields = line === undefined ? undefined : parseLogFields(line);
      if (!fields) {
        unreadable++;
        return;
      }
      const time = Date.parse(text(fields.start_time) ?? '');
      if (!Number.isNaN(time)) [from, to] = [Math.min(from, time), Math.max(to, time)];
      rules?.read(fields);
      const call = callOf(fields);
      if (call) candidates.use(call);
    },
    result: () => ({
      ways: judged.filter((way) => !candidates.used.has(way)),
      rules: rules?.result() ?? [],
      unlogged: external.length - judged.length,
      lines,
      unreadable,
      from: from === Infinity ? undefined : new Date(from).toISOString(),
      to: to === -Infinity ? undefined : new Date(to).toISOString(),
    }),
  };
}

/** Ways by host, and those of them that a call used. */
class Candidates {
  readonly used = new Set<ExposureEntry>();
  readonly #byHost: ReadonlyMap<string, readonly { readonly way: ExposureEntry }[]>;

  constructor(ways: readonly ExposureEntry[]) {
    const pairs = ways.flatMap((way) => way.hosts.map((host) => ({ key: keyOf(host), way })));
    this.#byHost = Map.groupBy(pairs, ({ key }) => key);
  }

  use(call: Logged): void {
    for (const key of call.host.includes('*') ? [WILDCARD] : [call.host, WILDCARD])
      for (const { way } of this.#byHost.get(key) ?? [])
        if (!this.used.has(way) && isUse(way, call)) this.used.add(way);
  }
}

const WILDCARD = '*';

function keyOf(host: string): string {
  return host.includes('*') ? WILDCARD : host.toLowerCase();
}

/** Returns the call of a line; undefined if it was refused, or reached no destination. */
function callOf(fields: LogFields): Logged | undefined {
  if (refusalOf(fields) !== undefined) return undefined;
  const cluster = logFieldText(fields.upstream_cluster);
  if (cluster === undefined && Object.hasOwn(fields, 'upstream_cluster')) return undefined;
  const host = logFieldText(fields.authority) ?? logFieldText(fields.requested_server_name) ?? '';
  return {
    host: host.replace(/:\d+$/, '').toLowerCase(),
    method: logFieldText(fields.method),
    path: pathOf(fields),
    to: destinationOf(cluster),
  };
}

/** Reads `outbound|8080|v1|orders.shop.svc.cluster.local`. Clusters may have other names, by configuration. */
function destinationOf(cluster: string | undefined): Logged['to'] {
  const [direction, port, subset, host] = (cluster ?? '').replace(/;$/, '').split('|');
  if (direction !== 'outbound' || subset === undefined || !host) return undefined;
  return { host: host.toLowerCase(), port: Number(port), subset };
}

function isUse(way: ExposureEntry, { host, method, path, to }: Logged): boolean {
  const { destination, protocol, calls, hosts } = way;
  if (to !== undefined) {
    if (to.host !== destination.host.toLowerCase()) return false;
    if (destination.port !== undefined && to.port !== destination.port) return false;
    if (destination.subset !== undefined && to.subset !== destination.subset) return false;
  }
  // Connections without HTTP have no host in the log, apart from a server name of TLS.
  if (protocol !== 'http') return to !== undefined || hosts.some((one) => hostMatches(one, host));
  if (!hosts.some((one) => hostMatches(one, host))) return false;
  return calls.length === 0 || calls.some((one) => callMatches(one, method, path));
}

function hostMatches(pattern: string, host: string): boolean {
  const lower = pattern.toLowerCase();
  return lower.startsWith('*') ? host.endsWith(lower.slice(1)) : lower === host;
}

function callMatches(
  one: ExposureEntry['calls'][number],
  method: string | undefined,
  path: string | undefined,
): boolean {
  if (one.method !== undefined && method !== undefined && one.method !== method) return false;
  // A regular expression counts as matched.
  if (one.path === undefined || path === undefined || one.path.startsWith('~')) return true;
  return one.path.endsWith('*') ? path.startsWith(one.path.slice(0, -1)) : path === one.path;
}
