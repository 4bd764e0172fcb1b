/** The broker's audit log: whole answers, and lines as they arrive. */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { MeshpassError } from '@meshpass/identity/error';
import { type OperatorOptions, openOperator, unreachable } from './client.ts';

export interface AuditClient {
  readonly json: (path: string, order?: unknown) => Promise<unknown>;
  readonly text: (path: string) => Promise<string>;
  /** @throws MeshpassError `agent_broker_unreachable` also where the answer breaks off */
  readonly lines: (path: string) => Promise<AsyncIterable<string>>;
}

/** Until the answer begins: a checkpoint is signed, or rows are pruned, before that. */
const PATIENCE_MS = 10 * 60_000;

/**
 * @param environment where the token is looked for when no file is named
 * @throws MeshpassError `usage`; the calls: what the broker answered, or `agent_broker_unreachable`
 */
export function auditClient(options: OperatorOptions, environment: NodeJS.ProcessEnv): AuditClient {
  const send = openOperator(options, environment, PATIENCE_MS);
  const failed = (cause: unknown) => unreachable(options, cause);
  const whole = async (path: string, order?: unknown) => {
    const response = await send(order === undefined ? 'GET' : 'POST', path, order);
    return await textOf(response).catch((cause) => Promise.reject(failed(cause)));
  };
  return {
    json: async (path, order) => JSON.parse(await whole(path, order)) as unknown,
    text: (path) => whole(path),
    lines: async (path) => linesOf(await send('GET', path), failed),
  };
}

/** @throws MeshpassError `usage`, when it is read, where the file cannot be */
export function fileLines(file: string): AsyncIterable<string> {
  return linesOf(createReadStream(file), (cause) => new MeshpassError('usage', `${file} cannot be read.`, { cause }));
}

async function* linesOf(input: Readable, failure: (cause: unknown) => Error): AsyncGenerator<string> {
  let failed: unknown;
  const reader = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  input.on('error', (cause) => {
    failed = cause;
    reader.close();
  });
  yield* reader;
  if (failed !== undefined) throw failure(failed);
}

/** @throws MeshpassError `usage` */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('usage', `${file} cannot be read.`, { cause });
  }
}
