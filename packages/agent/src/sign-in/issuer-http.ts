/** Asks an identity provider over HTTPS: bounded in time and size, and never redirected. */
import { request } from 'node:https';
import { getCACertificates } from 'node:tls';
import { MeshpassError } from '@meshpass/identity/error';

export interface IssuerAnswer {
  readonly status: number;
  /** Parsed JSON; undefined where it is none. */
  readonly json: unknown;
}

/** @throws MeshpassError agent_sign_in_failed where there is no answer */
export type AskIssuer = (url: string, form?: Readonly<Record<string, string>>) => Promise<IssuerAnswer>;

const MAX_ANSWER = 262_144;
const PATIENCE_MS = 10_000;

/** @param extraCa PEM of roots that are trusted beside those of the system */
export function askIssuer(extraCa: string | undefined): AskIssuer {
  const ca = extraCa === undefined ? undefined : [...getCACertificates('default'), extraCa];
  return (url, form) =>
    new Promise((resolve, reject) => {
      const body = form && new URLSearchParams(form).toString();
      const fail = (cause: Error) => {
        outgoing.destroy();
        const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
        reject(signInFailed(`${new URL(url).origin} gives no answer: ${why}`, cause));
      };
      const outgoing = request(
        url,
        {
          method: body === undefined ? 'GET' : 'POST',
          headers: {
            ...{ accept: 'application/json', 'user-agent': 'meshpass' },
            ...(body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
          },
          signal: AbortSignal.timeout(PATIENCE_MS),
          ...(ca && { ca }),
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          let size = 0;
          incoming.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > MAX_ANSWER) fail(new Error('its answer is too long'));
            else chunks.push(chunk);
          });
          incoming.on('error', fail);
          incoming.on('end', () =>
            resolve({ status: incoming.statusCode ?? 0, json: parse(Buffer.concat(chunks).toString('utf8')) }),
          );
        },
      );
      outgoing.on('error', fail);
      outgoing.end(body);
    });
}

export function signInFailed(why: string, cause?: unknown): MeshpassError {
  return new MeshpassError('agent_sign_in_failed', `The sign-in did not work: ${why}.`, { cause });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
