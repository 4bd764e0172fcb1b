/** Request bodies, bounded while they arrive: what is too long is never held. */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import type { z } from 'zod';
import { hasDuplicateMember } from '../attest/duplicate-members.ts';

export const MAX_BODY = 64 * 1024;
/** ms in which a body must be there: a small one fits into a few packets; a large one is sent by those who may. */
const PATIENCE_MS = 5_000;
const LARGE_PATIENCE_MS = 30_000;

/** @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout` */
export async function readBody(request: IncomingMessage, limit = MAX_BODY): Promise<string> {
  const bytes = await readBytes(request, limit);
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new MeshpassError('request_malformed', 'The body is not UTF-8.', { cause });
  }
}

/** What is not UTF-8 would be read as something else than was sent. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * @param limit in bytes
 * @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout`
 */
export async function readBytes(request: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  const chunks: Buffer[] = [];
  let size = 0;
  await new Promise<void>((resolve, reject) => {
    // Every request closes; only one that has not ended has failed by it. Errors cost a stack trace each.
    const early = () => {
      if (!request.readableEnded) reject(new MeshpassError('request_malformed', 'The request ended early.'));
    };
    const late = setTimeout(
      () => reject(new MeshpassError('request_timeout', 'The body of the request did not arrive in time.')),
      limit > MAX_BODY ? LARGE_PATIENCE_MS : PATIENCE_MS,
    );
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) reject(tooLarge(limit));
      else chunks.push(chunk);
    });
    request.on('end', resolve);
    request.on('close', early);
    request.on('error', early);
    request.once('close', () => clearTimeout(late));
    request.once('end', () => clearTimeout(late));
  });
  const [only] = chunks;
  return chunks.length === 1 ? only! : Buffer.concat(chunks);
}

/** @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout` */
export async function readJson<T>(request: IncomingMessage, schema: z.ZodType<T>, limit = MAX_BODY): Promise<T> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json')
    throw new MeshpassError('request_malformed', 'The content type must be application/json.');
  const text = await readBody(request, limit);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new MeshpassError('request_malformed', 'The body is not JSON.', { cause: thrown });
  }
  if (hasDuplicateMember(text, json)) throw new MeshpassError('request_malformed', 'The body has a duplicate member.');
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MeshpassError(
    'request_malformed',
    `The body is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.`,
  );
}

export function tooLarge(limit: number): MeshpassError {
  return new MeshpassError('request_too_large', `The body may have at most ${limit} bytes.`);
}
