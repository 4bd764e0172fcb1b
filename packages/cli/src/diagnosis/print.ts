/** Formats and prints findings. */
import type { ErrorCode } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { type ExitCode, explanationOf, type Output } from '../command/failure.ts';
import { exitCodeFor, type Finding } from './finding.ts';

/** A table line: a finding, or a report row with states of its own. */
type Line<State extends string> = Omit<Finding, 'state'> & { readonly state: State };

/**
 * Formats lines in columns. Below each line, its remaining fields have lines of their own. Quoted text may come from
 * anywhere, so control characters are replaced.
 * @param marks words for the states
 */
export function linesText<State extends string>(
  lines: readonly Line<State>[],
  marks: Readonly<Record<State, string>>,
): string[] {
  const states = Math.max(...Object.values<string>(marks).map((mark) => mark.length));
  const checks = Math.max(...lines.map(({ check }) => check.length));
  const indent = ' '.repeat(states + 1);
  return lines.flatMap(({ check, state, says, code, place, next, command, seen, untried }) => [
    plainText(
      `${marks[state].padEnd(states)} ${`${check}:`.padEnd(checks + 1)} ${says}${code === undefined ? '' : ` [${code}]`}${place === undefined ? '' : ` (${place})`}`,
    ),
    ...(next === undefined ? [] : [`${indent}next: ${plainText(next)}`]),
    ...(command === undefined ? [] : [`${indent}run:  ${plainText(command)}`]),
    ...seeLine(code, next, indent),
    ...(seen === undefined || state === 'ok' ? [] : [`${indent}seen: ${plainText(seen)}`]),
    ...(untried === undefined ? [] : [`${indent}note: ${plainText(untried)}`]),
  ]);
}

/** Formats the address that explains a code, unless the advice ends with it. */
function seeLine(code: ErrorCode | undefined, next: string | undefined, indent: string): string[] {
  const page = code && explanationOf(code);
  return page === undefined || next?.includes(page) ? [] : [`${indent}see:  ${page}`];
}

const STATES = { ok: 'ok', warning: 'warning', failed: 'failed', unknown: 'unknown', skipped: 'skipped' };

/** Formats findings as text. */
export function findingsText(findings: readonly Finding[]): string {
  return linesText(findings, STATES).join('\n');
}

/**
 * Prints findings.
 * @param member JSON property that contains them
 * @returns the exit code
 */
export function printFindings(findings: readonly Finding[], output: Output, member = 'findings'): ExitCode {
  console.log(output === 'json' ? JSON.stringify({ [member]: findings }, null, 2) : findingsText(findings));
  return exitCodeFor(findings);
}
