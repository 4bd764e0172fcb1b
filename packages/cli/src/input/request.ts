/** The call that a question is about, from flags. */

import type { Call, HttpCall } from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity/error';
import { readText } from './policy-input.ts';

export interface RequestFlags {
  readonly method: string;
  readonly path: string;
  readonly host?: string;
  readonly header: readonly string[];
  /** Bytes that are no HTTP. */
  readonly tcp?: boolean;
  readonly sourceIp?: string;
  readonly sni?: string;
}

type Request = (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined;

/** @throws MeshpassError `usage` */
export function requestOf(flags: RequestFlags): { readonly http: Request; readonly more: Partial<Call> } {
  const { method, path, host, header, tcp, sourceIp, sni } = flags;
  if (!path.startsWith('/')) throw new MeshpassError('usage', '--path must begin with "/".');
  const headers = Object.fromEntries(
    header.map((line) => {
      const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
      if (name === undefined) throw new MeshpassError('usage', `--header ${JSON.stringify(line)}: write NAME: VALUE.`);
      return [name.toLowerCase(), value!];
    }),
  );
  const http = { method, path, headers, ...(host !== undefined && { authority: host }) };
  return {
    http: tcp ? undefined : http,
    more: { ...(sourceIp !== undefined && { sourceIp }), ...(sni !== undefined && { sni }) },
  };
}

/** Claims as JSON, from a file after `@`. @throws MeshpassError `usage` */
export function claimsOf(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(text.startsWith('@') ? readText(text.slice(1)) : text);
    if (typeof claims === 'object' && claims !== null && !Array.isArray(claims))
      return claims as Record<string, unknown>;
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
  }
  throw new MeshpassError('usage', '--claims must be a JSON object, or @FILE with one.');
}
