/** Describes exposures in words. Names in manifests are untrusted, so control characters are removed from them. */

import { plainText } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';
import { describeDestination } from '../describe.ts';
import type { Identity } from '../exposure.ts';
import type { ExposureEntry } from '../list.ts';
import type { Access, ExposureReport } from './report.ts';
import type { UnusedAccess } from './unused.ts';

/** The columns of the report, in the order in which a call passes through them. */
export const COLUMNS = {
  verdict: 'Verdict',
  calls: 'Calls',
  entry: 'Entry point',
  destination: 'Destination',
  identityAtEntry: 'Identity at the entry point',
  identityAtWorkload: 'Identity at the workload',
  enforcer: 'Enforcing proxy',
  witness: 'Witness request',
  place: 'Place',
} as const;
export type Column = keyof typeof COLUMNS;
export const COLUMN_NAMES = Object.keys(COLUMNS) as readonly Column[];

/** Returns the text of each column for an exposure. */
export function describeExposureEntry(way: ExposureEntry): Readonly<Record<Column, string>> {
  const { entry, internal, verdict, unknown, enforcer, place, object } = way;
  return {
    verdict: plainText(verdict === 'unknown' ? `unknown: ${unknown.join('; ')}` : verdict),
    calls: describeEntryCalls(way),
    entry: plainText(internal === undefined ? entry.description : `${entry.description}; ${internal}`),
    destination: describeEntryDestination(way),
    identityAtEntry: describeIdentity(way.identityAtEntry),
    identityAtWorkload: describeIdentity(way.identityAtWorkload),
    enforcer: plainText(enforcer.reason === undefined ? enforcer.proxy : `${enforcer.proxy}: ${enforcer.reason}`),
    witness: describeWitness(way),
    place: `${formatPlace(place)} (${describeObject(object)})`,
  };
}

function describeObject({ kind, namespace, name }: ExposureEntry['object']): string {
  return plainText(namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`);
}

/** Describes the calls of an exposure, for example `GET /test*, any method /debug of shop.example.com`. */
export function describeEntryCalls({ hosts, calls, protocol }: ExposureEntry): string {
  const host = hosts.includes('*') ? 'any host' : listed(hosts);
  if (protocol !== 'http') return plainText(`every ${protocol === 'tls' ? 'TLS' : 'TCP'} connection to ${host}`);
  if (calls.length === 0 || calls.some(({ method, path }) => method === undefined && path === undefined))
    return plainText(`every call to ${host}`);
  const each = calls.map(({ method, path }) => `${method ?? 'any method'} ${describePath(path)}`);
  return plainText(`${listed([...new Set(each)])} of ${host}`);
}

function describePath(path: string | undefined): string {
  if (path === undefined) return 'any path';
  return path.startsWith('~') ? `paths that match ${path.slice(1)}` : path;
}

/** Formats a destination, for example `orders.shop.svc.cluster.local:8080, subset test`. */
export function describeEntryDestination(way: ExposureEntry): string {
  return plainText(describeDestination(way));
}

function describeIdentity({ state, reason }: Identity): string {
  return plainText(`${state}: ${reason}`);
}

function describeWitness({ witness, verdict }: ExposureEntry): string {
  if (verdict === 'closed') return 'none: a caller without an identity does not get through';
  if (!witness) return 'no example is known, because a regular expression decides';
  const headers = Object.entries(witness.headers).map(([name, value]) => `${name}: ${value}`);
  return plainText([`${witness.method} ${witness.url}`, ...headers].join(', with header '));
}

/** Formats a position, for example `mesh/shop.yaml:12`. Objects from a cluster only have a name. */
export function formatPlace({ file, line }: Place): string {
  return plainText(line > 0 ? `${file}:${line}` : file);
}

/** Formats the number of exposures for each verdict, for example `2 open, 1 unknown, 3 closed (not listed)`. */
export function describeCounts({ counts }: Access, { isAll }: Pick<ExposureReport, 'isAll'>): string {
  const hidden = isAll || counts.closed === 0 ? '' : ' (not listed)';
  return `${counts.open} open, ${counts.unknown} unknown, ${counts.closed} closed${hidden}`;
}

/**
 * Describes the logs that a list of unused exposures is based on: the period, the number of lines, and which exposures
 * cannot appear in them.
 */
export function describeLogCoverage({ from, to, lines, unreadable, unlogged }: UnusedAccess): readonly string[] {
  const period = from === undefined ? 'no line with a time' : `${from} to ${to}`;
  return [
    `The access logs cover ${period}, in ${pluralize(lines, 'line')}.`,
    ...(unreadable > 0
      ? [`${pluralize(unreadable, 'line')} could not be read as JSON access log, and may show a use.`]
      : []),
    ...(unlogged > 0
      ? [
          `${pluralize(unlogged, 'external way')} not judged: no gateway of Istio accepts the calls, so no log shows them.`,
        ]
      : []),
  ];
}

/** Formats a number with its noun, for example `1 line` or `2 lines`. */
export function pluralize(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

const RULES_TITLE = {
  unused: 'Rules and grants without a use',
  unknown: 'Rules and grants whose use is unknown',
} as const;

/**
 * Describes the rules and grants that are unused, and those whose use the logs cannot determine, in one line each.
 * Headings without lines are left out.
 */
export function describeRules({ rules }: UnusedAccess): readonly {
  readonly title: string;
  readonly lines: readonly string[];
}[] {
  const groups = Map.groupBy(rules, ({ unknown }) => (unknown === undefined ? 'unused' : 'unknown'));
  return (['unused', 'unknown'] as const).flatMap((of) => {
    const lines = groups.get(of)?.map(({ name, place, unknown }) => {
      const why = unknown === undefined ? '' : `: ${unknown}`;
      return plainText(`${name} (${formatPlace(place)})${why}`);
    });
    return lines ? [{ title: RULES_TITLE[of], lines }] : [];
  });
}
