/** Reports about passages: words and severities that rules of exposure share. */

import { describeEntry } from '../../exposure/describe.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import type { Passage } from '../../exposure/identity.ts';
import type { Severity } from '../model.ts';
import type { Report } from '../rule.ts';

/**
 * Reports each place once, because the ports of a Service or the hosts of a route have one cause. Of several reports it
 * keeps the first of the highest severity.
 */
export function* oncePerPlace(
  exposures: readonly Exposure[],
  report: (exposure: Exposure) => Report | undefined,
): Generator<Report> {
  const worst = new Map<object, Map<string, Report>>();
  for (const exposure of exposures) {
    const found = report(exposure);
    if (!found) continue;
    const places = worst.get(found.on) ?? new Map<string, Report>();
    worst.set(found.on, places);
    const place = found.path.join(' ');
    const before = places.get(place);
    if (!before || weightOf(found) > weightOf(before)) places.set(place, found);
  }
  for (const places of worst.values()) yield* places.values();
}

const WEIGHTS: readonly Severity[] = ['note', 'warning', 'error'];

/** Rules that state no severity for a report have the same one for all, or warnings. */
function weightOf({ severity = 'warning' }: Report): number {
  return WEIGHTS.indexOf(severity);
}

/** Names the entry points of passages. */
export function throughOf(passages: readonly Passage[]): string {
  // Files may define a Gateway more than once.
  return [...new Set(passages.map(({ entry }) => describeEntry(entry)))].join(' and ');
}

/** An error must be right: what is not known, or open only to a private network, is a warning. */
export function severityOf(passages: readonly Passage[]): Severity {
  return passages.some(({ verdict, entry }) => verdict === 'open' && entry.internal === undefined)
    ? 'error'
    : 'warning';
}

/** Explains why passages are not certain; empty if one is. */
export function unknownOf(passages: readonly Passage[]): string {
  if (severityOf(passages) === 'error') return '';
  const [{ atEntry, atWorkload }] = passages as readonly [Passage];
  const reasons = [atEntry, atWorkload].filter(({ state }) => state === 'unknown').map(({ reason }) => reason);
  return ` It is a warning, because ${reasons.join(', and ')}.`;
}
