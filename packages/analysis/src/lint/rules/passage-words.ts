/** Provides the wording and severities that the rules about exposures have in common. */

import { describeCallers, describeCalls, describeDestination, describeEntry } from '../../exposure/describe.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import type { Passage } from '../../exposure/identity.ts';
import type { LintContext } from '../context.ts';
import { SEVERITIES, type Severity } from '../model.ts';
import { each, type Problem, type Report, type Rule } from '../rule.ts';

/**
 * Creates the `check` function of a rule that examines each exposure on its own, and reports it at its destination.
 * Each position is reported only once, because the ports of a Service or the hosts of a route usually share one cause.
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

/** Keeps a single report for each position, namely the first one with the highest severity. */
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

/**
 * Treats a report without a severity as a warning. Rules that omit the severity either do so for all of their reports,
 * or mean a warning.
 */
function weightOf({ severity = 'warning' }: Report): number {
  return SEVERITIES.indexOf(severity);
}

/**
 * Describes who can reach a destination, for example `GET of shop.example.com/test reaches orders.shop through Gateway
 * public: open to anyone who can reach it`.
 * @param named a description of the destination; defaults to its host and port
 */
export function describeReach(
  exposure: Exposure,
  passages: readonly Passage[],
  named = describeDestination(exposure),
): string {
  return `${describeCalls(exposure)} reaches ${named} through ${describeEntryPoints(passages)}: open to ${describeCallers(exposure)}`;
}

/** Checks whether an exposure was added by an EnvoyFilter. MP703 reports such exposures. */
export function isAddedByEnvoyFilter({ entries }: Exposure): boolean {
  return entries.some(({ kind }) => kind === 'EnvoyFilter');
}

/** Describes the entry points that the passages go through. */
export function describeEntryPoints(passages: readonly Passage[]): string {
  // The files may define the same Gateway more than once.
  return [...new Set(passages.map(({ entry }) => describeEntry(entry)))].join(' and ');
}

/**
 * Returns the severity for a set of passages. Errors must be certain, so the result is a warning if every passage is
 * either unknown or only open to a private network.
 */
export function passageSeverity(passages: readonly Passage[]): Severity {
  return passages.some(({ verdict, entry }) => verdict === 'open' && entry.internal === undefined)
    ? 'error'
    : 'warning';
}

/** Creates the problem that passages are open. Its severity depends on how certain this is. */
export function openProblem(passages: readonly Passage[], message: string): Problem {
  return { severity: passageSeverity(passages), message: `${message}${explainUncertainty(passages)}` };
}

/** Explains why it is uncertain that a passage is open. Returns an empty string if at least one passage is certain. */
function explainUncertainty(passages: readonly Passage[]): string {
  if (passageSeverity(passages) === 'error') return '';
  const [{ atEntry, atWorkload }] = passages as readonly [Passage];
  const reasons = [atEntry, atWorkload].filter(({ state }) => state === 'unknown').map(({ reason }) => reason);
  return ` It is a warning, because ${reasons.join(', and ')}.`;
}
