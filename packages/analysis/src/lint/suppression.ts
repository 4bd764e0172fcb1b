/**
 * Reads suppressions, which mark findings as accepted. A suppression is a comment at the line or an annotation on the
 * object, and has a reason and an end date. If it is incomplete or expired, it has no effect and is reported as a
 * finding itself.
 *
 *     # meshpass-lint: ignore MP201 until 2027-03-31: the shop is public under every name it has
 *     meshpass.dev/lint-ignore: "MP202, MP201 until 2027-03-31: behind the CDN, which redirects"
 */
import { pageUrl } from '@meshpass/identity';
import type { KubeObject, Place, Resource } from '@meshpass/istio';
import type { Finding, RuleCode, RuleText, SuppressedFinding } from './model.ts';

const IGNORE_ANNOTATION = 'meshpass.dev/lint-ignore';

const COMMENT = /#\s*meshpass-lint:\s*ignore\b(.*)$/;
const FORM =
  /^\s*(?<codes>[A-Za-z]+\d*(?:\s*,\s*[A-Za-z]+\d*)*)?(?:\s+until\s+(?<until>\S+?))?\s*(?::\s*(?<reason>.*))?$/s;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const SHORTEST_REASON = 8;

export const SUPPRESSION_RULES = [
  {
    code: 'MP001',
    name: 'suppression-incomplete',
    severity: 'error',
    title: 'A suppression lacks a code, end date or reason, so it has no effect',
    fix: 'Write `ignore MP201 until 2027-03-31: WHY`. The reason is for the person who reviews it on that date.',
  },
  {
    code: 'MP002',
    name: 'suppression-expired',
    severity: 'error',
    title: 'A suppression has expired',
    fix: 'Fix the finding, or review the decision and set a new date.',
  },
  {
    code: 'MP003',
    name: 'suppression-unknown-rule',
    severity: 'warning',
    title: 'A suppression names a rule that does not exist',
    fix: `Use a code from ${pageUrl('docs/lint.md')}.`,
  },
  {
    code: 'MP004',
    name: 'suppression-unused',
    severity: 'note',
    title: 'A suppression matches no finding',
    fix: 'Remove it: it would hide the next finding of the same rule.',
  },
] as const satisfies readonly RuleText[];

export interface Suppression {
  readonly place: Place;
  readonly codes: readonly string[];
  readonly reason: string;
  readonly until: string;
  /** Checks whether the suppression applies to a finding. */
  readonly reaches: (finding: Finding, on: KubeObject | undefined) => boolean;
  /** The mistake that makes the suppression invalid. Undefined if it is valid. */
  readonly fault: { readonly code: 'MP001' | 'MP002'; readonly message: string } | undefined;
}

/**
 * Finds all suppression comments in a file.
 * @param now the current time in Unix milliseconds
 */
export function suppressionsIn(text: string, file: string, now: number): readonly Suppression[] {
  const found: Suppression[] = [];
  if (!text.includes('meshpass-lint')) return found;
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    const match = COMMENT.exec(line);
    if (!match) continue;
    const alone = line.slice(0, match.index).trim() === '';
    const target = alone ? nextLine(lines, index) : index + 1;
    found.push({
      ...read(match[1]!, now),
      place: { file, line: index + 1, column: match.index + 1 },
      reaches: (finding) => finding.place.file === file && finding.place.line === target,
    });
  }
  return found;
}

/** Finds suppressions in annotations, with one suppression per line. They apply to all findings for the object. */
export function suppressionsOn(resources: readonly Resource[], now: number): readonly Suppression[] {
  const found: Suppression[] = [];
  for (const resource of resources) {
    const text = resource.metadata.annotations?.[IGNORE_ANNOTATION];
    if (typeof text !== 'string') continue;
    const place = resource.origin.at(['metadata', 'annotations', IGNORE_ANNOTATION], 'key');
    for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
      found.push({ ...read(line, now), place, reaches: (_, on) => on === resource });
    }
  }
  return found;
}

/** Returns the 1-based number of the next line that is neither blank nor a comment. */
function nextLine(lines: readonly string[], index: number): number {
  let next = index + 1;
  while (next < lines.length && /^\s*(?:#.*)?$/.test(lines[next]!)) next++;
  return next + 1;
}

function read(text: string, now: number): Omit<Suppression, 'place' | 'reaches'> {
  const { codes = '', until = '', reason = '' } = FORM.exec(text.trim())?.groups ?? {};
  const given = { codes: codes.match(/\w+/g) ?? [], until, reason: reason.trim() };
  const missing = [
    ...(given.codes.length === 0 ? ['a rule code'] : []),
    ...(isDay(until) ? [] : ['a day (until YYYY-MM-DD)']),
    ...(given.reason.length < SHORTEST_REASON ? ['a reason after a colon'] : []),
  ];
  if (missing.length > 0)
    return {
      ...given,
      fault: { code: 'MP001', message: `this suppression lacks ${missing.join(', ')}: it has no effect.` },
    };
  // A suppression remains valid until its end date has passed in every time zone.
  const over = Date.parse(`${until}T00:00:00Z`) + 36 * 3600_000 < now;
  return {
    ...given,
    fault: over ? { code: 'MP002', message: `this suppression ended on ${until}: it has no effect.` } : undefined,
  };
}

function isDay(text: string): boolean {
  return DAY.test(text) && new Date(`${text}T00:00:00Z`).toISOString().startsWith(text);
}

/**
 * Checks whether comments or settings can suppress a rule's findings. Findings about suppressions cannot be suppressed.
 */
export function isSuppressible(code: RuleCode): boolean {
  return !SUPPRESSION_RULES.some((rule) => rule.code === code);
}

/**
 * Formats the reason for accepting a finding, followed by its end date or owner, for example `the public demo (team
 * shop)`.
 */
export function describeAcceptance({ suppressedBy: { reason, until, owner } }: SuppressedFinding): string {
  const more = until === undefined ? owner : `until ${until}`;
  return more === undefined ? reason : `${reason} (${more})`;
}
