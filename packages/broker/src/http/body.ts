/** Reads request bodies. The size limit is enforced while a body arrives, so an oversized body is never buffered. */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { hasDuplicateMember } from '../base/index.ts';

/** The default size limit for a body, in bytes. */
const DEFAULT_MAX_BODY_BYTES = 64 * 1024;
/**
 * How long a body may take to arrive, in milliseconds. A small body fits into a few packets, and only authorized
 * callers send large ones.
 */
const PATIENCE_MS = 5_000;
const LARGE_PATIENCE_MS = 30_000;

/**
 * Reads a request body as UTF-8 text.
 * @param limit the maximum size in bytes
 * @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout`
 */
export async function readBody(request: IncomingMessage, limit = DEFAULT_MAX_BODY_BYTES): Promise<string> {
  const bytes = await readBytes(request, limit);
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new MeshpassError('request_malformed', 'The body is not valid UTF-8.', { cause });
  }
}

/** A strict decoder, because replacement characters would change the content. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a request body as bytes.
 * @param limit the maximum size in bytes
 * @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout`
 */
export async function readBytes(request: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw bodyTooLargeError(limit);
  const chunks: Buffer[] = [];
  let size = 0;
  await new Promise<void>((resolve, reject) => {
    // Every request emits `close`, which is only an error if it comes before `end`. The error is created only when it
    // is needed, because it captures a stack trace.
    const early = () => {
      if (!request.readableEnded)
        reject(new MeshpassError('request_malformed', 'The request ended before its body was complete.'));
    };
    const late = setTimeout(
      () => reject(new MeshpassError('request_timeout', 'The request body did not arrive in time.')),
      limit > DEFAULT_MAX_BODY_BYTES ? LARGE_PATIENCE_MS : PATIENCE_MS,
    );
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) reject(bodyTooLargeError(limit));
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

/**
 * Reads a request body as JSON and validates it.
 * @param limit the maximum size in bytes
 * @throws MeshpassError `request_too_large`, `request_malformed`, `request_timeout`
 */
export async function readJson<T>(
  request: IncomingMessage,
  schema: z.ZodType<T>,
  limit = DEFAULT_MAX_BODY_BYTES,
): Promise<T> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json')
    throw new MeshpassError('request_malformed', 'The content type must be application/json.');
  return parseJson(await readBody(request, limit), schema);
}

/**
 * Parses and validates JSON. Duplicate members are rejected, because parsers disagree on what they mean.
 * @throws MeshpassError `request_malformed`
 */
export function parseJson<T>(text: string, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new MeshpassError('request_malformed', 'The body is not valid JSON.', { cause: thrown });
  }
  if (hasDuplicateMember(text, json))
    throw new MeshpassError('request_malformed', 'The body contains a duplicate member.');
  return readInput(json, schema, 'body');
}

/**
 * Validates part of a request against its schema.
 * @throws MeshpassError `request_malformed`
 */
export function readInput<T>(input: unknown, schema: z.ZodType<T>, part: 'body' | 'query' | 'form'): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const names = part === 'query' && schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  const hint = names.length > 0 ? ` Valid parameters are ${names.join(', ')}.` : '';
  throw new MeshpassError(
    'request_malformed',
    `The ${part} is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.${hint}`,
  );
}

/**
 * Creates the error for a body that exceeds the limit.
 * @param limit the maximum size in bytes
 */
export function bodyTooLargeError(limit: number): MeshpassError {
  return new MeshpassError('request_too_large', `The body must not exceed ${limit} bytes.`);
}
