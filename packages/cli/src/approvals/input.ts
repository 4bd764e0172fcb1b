/** Readers for the values of approval flags. */
import { MeshpassError } from '@meshpass/identity/error';

/**
 * Validates a request id.
 * @param list command that lists ids, for messages
 * @throws MeshpassError `usage`
 */
export function readRequestId(id: string, list = 'meshpass requests'): string {
  if (/^[0-9a-f]{24}$/.test(id)) return id;
  throw new MeshpassError('usage', `"${id}" is not a request ID (24 characters). Run ${list} to list the IDs.`);
}

/**
 * Validates a reason.
 * @throws MeshpassError `usage` if it is empty
 */
export function readReason(reason: string): string {
  if (reason.trim() !== '') return reason;
  throw new MeshpassError('usage', '--reason must not be empty.');
}

/**
 * Parses `90s`, `10m` or `8h`.
 * @returns seconds
 * @throws MeshpassError `usage`
 */
export function readDuration(text: string, flag: string): number {
  const match = /^([1-9][0-9]{0,5})([smh])$/.exec(text);
  if (!match) throw new MeshpassError('usage', `${flag} must be a duration such as 90s, 30m or 2h, not ${text}.`);
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h'];
}
