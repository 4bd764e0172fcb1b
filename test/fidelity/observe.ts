/** Calls that several cases make, told in few words. */
import { randomUUID } from 'node:crypto';
import type { Echoed } from '@meshpass/lab/apps/echo/http';
import type { HttpAnswer } from '../callers/http-call.ts';
import { ECHO_URL, type World } from './case.ts';

type Headers = Readonly<Record<string, string>>;

/** @param path of echo.shop */
export function get(world: World, path: string, headers: Headers = {}): Promise<HttpAnswer> {
  return world.call({ do: 'http', url: ECHO_URL + path, headers });
}

/** The status, or why there is none. */
export async function statusOf(world: World, path: string, headers?: Headers): Promise<string> {
  const { status, error } = await get(world, path, headers);
  return status === 0 ? `no answer (${error})` : String(status);
}

/** Answer of the service. @throws Error if another component answered */
export function echoed({ status, body }: HttpAnswer): Echoed {
  if (!body.startsWith('{"version"'))
    throw new Error(`the service did not answer, but ${status} ${body.slice(0, 200)}`);
  return JSON.parse(body) as Echoed;
}

/** How many of these calls, a few at a time, each version answered; other answers by their status. */
export async function countAnswers(
  world: World,
  count: number,
  headersOf: (n: number) => Headers = () => ({}),
): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const answers: HttpAnswer[] = [];
  for (let n = 0; n < count; n += 10) {
    const batch = Array.from({ length: Math.min(10, count - n) }, (_, at) => get(world, '/count', headersOf(n + at)));
    answers.push(...(await Promise.all(batch)));
  }
  for (const { status, headers } of answers) {
    const key = status === 200 ? (headers['x-version'] ?? 'unknown') : String(status);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** `v1`, or `v1 and v2`. */
export function kinds(counts: ReadonlyMap<string, number>): string {
  return [...counts.keys()].sort().join(' and ');
}

export function newId(): string {
  return randomUUID();
}
