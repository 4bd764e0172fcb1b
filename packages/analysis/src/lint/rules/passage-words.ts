/** Reports about passages: words and severities that rules of exposure share. */

import { describeCallers, describeCalls, describeDestination, describeEntry } from '../../exposure/describe.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import type { Passage } from '../../exposure/identity.ts';
import type { LintContext } from '../context.ts';
import { SEVERITIES, type Severity } from '../model.ts';
import { each, type Problem, type Report, type Rule } from '../rule.ts';

/**
 * Creates the check of a rule that judges each exposure by itself, at its destination. It reports each place once,
 * because the ports of a Service or the hosts of a route have one cause.
 */
export function checkEachExposure(
  judge: (exposure: Exposure, context: LintContext) => Problem | undefined,
): Rule['check'] {
  const check = each(
    ({ exposures }) => exposures.map((value) => ({ on: value.on, path: value.destinationPath, value })),
    ({ value }, context) => judge(value, context),
  );
  return (context) => oncePerPlace(check(context));
}

/** Keeps the first report of each place that has the highest severity there. */
export function* oncePerPlace(reports: Iterable<Report>): Generator<Report> {
  const worst = new Map<object, Map<string, Report>>();
  for (const found of reports) {
    const places = worst.get(found.on) ?? new Map<string, Report>();
    worst.set(found.on, places);
    const place = found.path.join(' ');
    const before = places.get(place);
    if (!before || weightOf(found) > weightOf(before)) places.set(place, found);
  }
  for (const places of worst.values()) yield* places.values();
}

/** Rules that state no severity for a report have the same one for all, or warnings. */
function weightOf({ severity = 'warning' }: Report): number {
  return SEVERITIES.indexOf(severity);
}

/**
 * Formats `GET of shop.example.com/test reaches orders.shop through Gateway public: open to anyone who can reach it`.
 * @param named destination; defaults to its host and port
 */
export function describeReach(
  exposure: Exposure,
  passages: readonly Passage[],
  named = describeDestination(exposure),
): string {
  return `${describeCalls(exposure)} reaches ${named} through ${describeEntryPoints(passages)}: open to ${describeCallers(exposure)}`;
}

/** Whether an EnvoyFilter adds the exposure, which MP703 reports. */
export function isAddedByEnvoyFilter({ entries }: Exposure): boolean {
  return entries.some(({ kind }) => kind === 'EnvoyFilter');
}

/** Names the entry points of passages. */
export function describeEntryPoints(passages: readonly Passage[]): string {
  // Files may define a Gateway more than once.
  return [...new Set(passages.map(({ entry }) => describeEntry(entry)))].join(' and ');
}

/** An error must be right: what is not known, or open only to a private network, is a warning. */
export function passageSeverity(passages: readonly Passage[]): Severity {
  return passages.some(({ verdict, entry }) => verdict === 'open' && entry.internal === undefined)
    ? 'error'
    : 'warning';
}

/** Explains why passages are not certain; empty if one is. */
export function explainUncertainty(passages: readonly Passage[]): string {
  if (passageSeverity(passages) === 'error') return '';
  const [{ atEntry, atWorkload }] = passages as readonly [Passage];
  const reasons = [atEntry, atWorkload].filter(({ state }) => state === 'unknown').map(({ reason }) => reason);
  return ` It is a warning, because ${reasons.join(', and ')}.`;
}
