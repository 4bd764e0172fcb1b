/** Formats and prints findings. */
import type { ErrorCode } from '@meshpass/identity';
import { type Answer, explanationUrl } from '../command/outcome.ts';
import { exitCodeFor } from './finding.ts';
import type { CheckedFinding } from './run.ts';

/** A line of the table. It is either a finding, or a report row with its own set of states. */
type Line<State extends string> = Omit<CheckedFinding, 'state'> & { readonly state: State };

/**
 * Formats lines in columns. The other fields of each line are printed below it, on separate lines.
 * @param marks the label to print for each state
 */
export function formatLines<State extends string>(
  lines: readonly Line<State>[],
  marks: Readonly<Record<State, string>>,
): string[] {
  const states = Math.max(...Object.values<string>(marks).map((mark) => mark.length));
  const checks = Math.max(...lines.map(({ check }) => check.length));
  const indent = ' '.repeat(states + 1);
  return lines.flatMap(({ check, state, says, code, place, next, command, seen, untried }) => [
    `${marks[state].padEnd(states)} ${`${check}:`.padEnd(checks + 1)} ${says}${code === undefined ? '' : ` [${code}]`}${place === undefined ? '' : ` (${place})`}`,
    ...(next === undefined ? [] : [`${indent}next: ${next}`]),
    ...(command === undefined ? [] : [`${indent}run:  ${command}`]),
    ...seeLine(code, next, indent),
    ...(seen === undefined || state === 'ok' ? [] : [`${indent}seen: ${seen}`]),
    ...(untried === undefined ? [] : [`${indent}note: ${untried}`]),
  ]);
}

/** Formats the URL that explains an error code, unless the advice already contains that URL. */
function seeLine(code: ErrorCode | undefined, next: string | undefined, indent: string): string[] {
  const page = code && explanationUrl(code);
  return page === undefined || next?.includes(page) ? [] : [`${indent}see:  ${page}`];
}

const STATES = { ok: 'ok', warning: 'warning', failed: 'failed', unknown: 'unknown', skipped: 'skipped' };

/**
 * Builds a command's answer from findings.
 * @param member the JSON property that contains the findings
 */
export function findingsOutput(findings: readonly CheckedFinding[], member = 'findings'): Answer {
  return { json: { [member]: findings }, text: () => formatLines(findings, STATES), exit: exitCodeFor(findings) };
}
