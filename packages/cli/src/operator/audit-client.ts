/** Creates clients for the broker's audit log, which return either complete responses or lines as they arrive. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { brokerUnreachableError } from '../broker/send.ts';
import { unreadableFileError } from '../input/text-file.ts';
import { createOperatorSender, type OperatorOptions } from './client.ts';

/**
 * How long the broker may take to start sending its response, in milliseconds. It may first have to sign a checkpoint
 * or prune rows.
 */
const PATIENCE_MS = 10 * 60_000;

/**
 * Creates a client for the audit log.
 * @throws MeshpassError `usage`. The client's functions throw `agent_broker_unreachable` or the error that the broker
 *   returns
 */
export function createAuditClient(options: OperatorOptions) {
  const send = createOperatorSender(options, process.env, PATIENCE_MS);
  const failed = (cause: unknown) => brokerUnreachableError(options, cause);
  const whole = async (path: string, order?: unknown) => {
    const response = await send(order === undefined ? 'GET' : 'POST', path, order);
    return await textOf(response).catch((cause) => Promise.reject(failed(cause)));
  };
  return {
    json: async (path: string, order?: unknown) => JSON.parse(await whole(path, order)) as unknown,
    text: (path: string) => whole(path),
    /** @throws MeshpassError `agent_broker_unreachable` if the broker does not respond or if the response is cut off */
    lines: async (path: string) => linesOf(await send('GET', path), failed),
  };
}

/**
 * Reads a file line by line.
 * @throws MeshpassError `usage` during the iteration if the file cannot be read
 */
export function fileLines(file: string, flag: string): AsyncIterable<string> {
  return linesOf(createReadStream(file), (cause) => unreadableFileError(file, cause, flag));
}

async function* linesOf(input: Readable, failure: (cause: unknown) => Error): AsyncGenerator<string> {
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (cause) {
    throw failure(cause);
  }
}
