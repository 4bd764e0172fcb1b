/** A diagnosis finding: the subject, the problem, its evidence, and the fix. */
import { type ErrorCode, MeshpassError } from '@meshpass/identity/error';
import { EXIT, type ExitCode } from '../command/failure.ts';
import { adviceFor } from './advice.ts';

/** `warning` means that the subject works, but less well than it could. `skipped` means that it was not examined. */
export type State = 'ok' | 'warning' | 'failed' | 'unknown' | 'skipped';

export interface Finding<Check extends string = string> {
  readonly check: Check;
  readonly state: State;
  readonly says: string;
  /** Such as `access.yaml:12`, if a line in a file decides. */
  readonly place?: string;
  /** Evidence: a file, address or request. */
  readonly seen?: string;
  /** Error code of a failure. */
  readonly code?: ErrorCode;
  readonly next?: string;
  /** Shell command that fixes the problem. */
  readonly command?: string;
  readonly untried?: string;
  /** Whether a retry may help. */
  readonly retryable?: boolean;
}

export type More = Pick<Finding, 'seen' | 'command' | 'next'>;

/** Builds a finding without a problem. */
export function ok<Check extends string>(check: Check, says: string, seen?: string): Finding<Check> {
  return { check, state: 'ok', says, ...(seen !== undefined && { seen }) };
}

/** Builds a finding about something that works with limitations. */
export function warning<Check extends string>(check: Check, says: string, more: More = {}): Finding<Check> {
  return { check, state: 'warning', says, ...more };
}

/** Builds a finding about something that cannot be determined from here. */
export function unknown<Check extends string>(check: Check, says: string, more: More = {}): Finding<Check> {
  return { check, state: 'unknown', says, ...more };
}

/** Builds a finding about something that was not examined. */
export function skipped<Check extends string>(check: Check, says: string): Finding<Check> {
  return { check, state: 'skipped', says };
}

/**
 * Builds a failed finding.
 * @param more overrides the advice for the error's code
 */
export function failed<Check extends string>(check: Check, error: MeshpassError, more: More = {}): Finding<Check> {
  const { code, message: says, retryable } = error;
  return { check, state: 'failed', says, code, retryable, ...adviceFor(code), ...more };
}

/** Builds a finding about a wrong configuration, with its evidence and a command that fixes it or shows more. */
export function wrong(check: string, says: string, more: Required<Pick<More, 'seen' | 'command'>> & More): Finding {
  return failed(check, new MeshpassError('config_invalid', says), more);
}

/** Combines findings. Any failure fails the result; otherwise, any unknown finding makes it unknown. */
export function overall(findings: readonly Finding[]): 'ok' | 'failed' | 'unknown' {
  return (['failed', 'unknown'] as const).find((state) => findings.some((one) => one.state === state)) ?? 'ok';
}

/**
 * Returns the exit code. Later checks depend on earlier ones, so if the first failure is temporary, later failures may
 * also be.
 */
export function exitCodeFor(findings: readonly Finding[]): ExitCode {
  if (findings.find(({ state }) => state === 'failed')?.retryable) return EXIT.unavailable;
  return { ok: EXIT.ok, failed: EXIT.failed, unknown: EXIT.unknown }[overall(findings)];
}
