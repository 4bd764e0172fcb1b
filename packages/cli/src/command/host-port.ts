/** Parsers for flag values such as `HOST:PORT` and `NAMESPACE/NAME`. */
import { MeshpassError } from '@meshpass/identity/error';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/**
 * Parses `HOST:PORT`.
 * @throws MeshpassError `usage`, naming the flag
 */
export function hostPort(text: string, flag: string): HostPort {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (!match || port > 65_535) throw new MeshpassError('usage', `${flag} must be HOST:PORT, not "${text}".`);
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port };
}

/**
 * Parses a whole number.
 * @throws MeshpassError `usage`, naming the flag
 */
export function wholeNumber(text: string, flag: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new MeshpassError('usage', `${flag} must be a whole number, not "${text}".`);
  return Number(text);
}

/**
 * Parses a port.
 * @returns 0 to 65535
 * @throws MeshpassError `usage`, naming the flag
 */
export function portNumber(text: string, flag: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
    throw new MeshpassError('usage', `${flag} must be a port from 0 to 65535, not "${text}".`);
  return Number(text);
}

/** Name of a Kubernetes object. */
export interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

/**
 * Parses `NAMESPACE/NAME`.
 * @throws MeshpassError `usage`, naming the flag
 */
export function objectNameOf(text: string, flag: string): ObjectName {
  const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(text) ?? [];
  if (namespace !== undefined && name !== undefined) return { namespace, name };
  throw new MeshpassError('usage', `${flag} must be NAMESPACE/NAME, not "${text}".`);
}

/**
 * Parses `90s`, `10m` or `8h`.
 * @returns seconds
 * @throws MeshpassError `usage`, naming the flag
 */
export function durationOf(text: string, flag: string): number {
  const match = /^([1-9][0-9]{0,5})([smh])$/.exec(text);
  if (!match) throw new MeshpassError('usage', `${flag} must be a duration such as 90s, 30m or 2h, not ${text}.`);
  return Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] as 's' | 'm' | 'h'];
}

/**
 * Checks that a text is not empty.
 * @throws MeshpassError `usage`, naming the flag
 */
export function nonEmpty(text: string, flag: string): string {
  if (text.trim() !== '') return text;
  throw new MeshpassError('usage', `${flag} must not be empty.`);
}
