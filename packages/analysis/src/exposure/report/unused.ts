/**
 * Finds unused access: external exposures, rules and grants that do not appear in the access logs of Istio gateways and
 * sidecars.
 *
 * Ambiguous lines count as use, because an operator might remove whatever is reported as unused.
 */

import { text } from '@meshpass/istio/members';
import type { ExposureEntry } from '../list.ts';
import { type LogFields, logFieldText, parseLogFields, pathOf, refusalOf } from './access-log.ts';
import { createRuleUsageCollector, type LoggedMesh, type RuleWithoutUse } from './unused-rules.ts';

export interface UnusedAccess {
  /** The external exposures that appear in no log line, in the order of `listExposures`. */
  readonly ways: readonly ExposureEntry[];
  /** The rules and grants that are unused or whose use is unknown. Empty if no mesh is given. */
  readonly rules: readonly RuleWithoutUse[];
  /** The number of external exposures that bypass Istio's proxies, so that their use cannot be seen in Istio's logs. */
  readonly unlogged: number;
  /** The number of lines that were read, not counting empty ones. */
  readonly lines: number;
  /** The number of lines that are not JSON access log lines. */
  readonly unreadable: number;
  /**
   * The earliest `start_time` in the logs, in ISO 8601 format, and the latest. Both are undefined if no line has one.
   */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** Reads access logs line by line to find unused exposures. Lines are not stored. */
export interface UsageReader {
  /** Reads one line of a log. Pass undefined for a line that is too long to be read. */
  readonly read: (line: string | undefined) => void;
  readonly result: () => UnusedAccess;
}

/** A call or connection that appears in the logs. */
interface Logged {
  readonly host: string;
  readonly method: string | undefined;
  readonly path: string | undefined;
  /** The destination. Undefined if the line does not contain it, which is the case in a sidecar's log, for example. */
  readonly to: { readonly host: string; readonly port: number; readonly subset: string } | undefined;
}

/**
 * Creates a reader that determines which external exposures are in use and, if a mesh is given, which of its rules and
 * grants.
 * @param ways the result of `listExposures`
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
  const hosts = judged.flatMap((way) => way.hosts.map((host) => ({ key: keyOf(host), way })));
  const byHost = Map.groupBy(hosts, ({ key }) => key);
  const used = new Set<ExposureEntry>();
  const use = (call: Logged) => {
    const keys = call.host.includes('*') ? [WILDCARD] : [call.host, WILDCARD];
    for (const { way } of keys.flatMap((key) => byHost.get(key) ?? []))
      if (!used.has(way) && isUse(way, call)) used.add(way);
  };
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
      if (call) use(call);
    },
    result: () => ({
      ways: judged.filter((way) => !used.has(way)),
      rules: rules?.result() ?? [],
      unlogged: external.length - judged.length,
      lines,
      unreadable,
      from: from === Infinity ? undefined : new Date(from).toISOString(),
      to: to === -Infinity ? undefined : new Date(to).toISOString(),
    }),
  };
}

const WILDCARD = '*';

function keyOf(host: string): string {
  return host.includes('*') ? WILDCARD : host.toLowerCase();
}

/** Returns the call that was logged, or undefined if it was rejected or did not reach a destination. */
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

/**
 * Parses a cluster name such as `outbound|8080|v1|orders.shop.svc.cluster.local`. Clusters can also be configured to
 * have other names.
 */
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
  // The only host that the logs contain for a non-HTTP connection is the TLS server name.
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
  // Regular expressions are not evaluated, so they always count as a match.
  if (one.path === undefined || path === undefined || one.path.startsWith('~')) return true;
  return one.path.endsWith('*') ? path.startsWith(one.path.slice(0, -1)) : path === one.path;
}
