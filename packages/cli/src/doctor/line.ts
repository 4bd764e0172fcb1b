/** A finding of `meshpass doctor`: what was looked at, what is wrong, how that was seen, and what mends it. */
import { MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { EXIT, type ExitCode } from '../command/failure.ts';
import { adviceFor } from './advice.ts';

export interface Finding<Check extends string = string> {
  readonly check: Check;
  /** `warning`: it works, with less than there could be. */
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped';
  readonly says: string;
  /** How it was seen: the file, address or request. */
  readonly seen?: string;
  /** Of a failure. */
  readonly code?: string;
  readonly next?: string;
  /** A shell line that mends it. */
  readonly command?: string;
  readonly untried?: string;
  /** Whether trying again may help by itself. */
  readonly retryable?: boolean;
}

export type More = Pick<Finding, 'seen' | 'command' | 'next'>;

/** @param more wins over the advice for the error's code */
export function failed<Check extends string>(check: Check, error: MeshpassError, more: More = {}): Finding<Check> {
  return {
    ...{ check, state: 'failed', says: error.message, code: error.code, retryable: error.retryable },
    ...adviceFor(error.code),
    ...more,
  };
}

/** What is wrong here by its configuration, with how that was seen and what mends it or shows more. */
export function wrong(check: string, says: string, more: Required<Pick<More, 'seen' | 'command'>> & More): Finding {
  return failed(check, new MeshpassError('config_invalid', says), more);
}

/** For people: one line, and a line for each of the rest. What it quotes may come from anywhere. */
export function findingText({ check, state, says, seen, code, next, command, untried }: Finding): string {
  const lines = [`${state.padEnd(7)} ${check}: ${says}${code === undefined ? '' : ` [${code}]`}`];
  if (next !== undefined) lines.push(`        next: ${next}`);
  if (command !== undefined) lines.push(`        run:  ${command}`);
  if (seen !== undefined && state !== 'ok') lines.push(`        seen: ${seen}`);
  if (untried !== undefined) lines.push(`        note: ${untried}`);
  return lines.map(plainText).join('\n');
}

/** The later checks need the earlier ones: if the first failure is temporary, so may be the rest. */
export function exitCodeFor(findings: readonly Finding[]): ExitCode {
  const first = findings.find(({ state }) => state === 'failed');
  if (!first) return EXIT.ok;
  return first.retryable ? EXIT.unavailable : EXIT.failed;
}
