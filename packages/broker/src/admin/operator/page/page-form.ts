/** Reads forms of the broker's page, and accepts them only from the page's own origin. */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import type { z } from 'zod';
import { equalInConstantTime } from '../../../base/index.ts';
import { readBody } from '../../../http/index.ts';
import { cookieOf, formToken, SESSION_COOKIE } from './cookies.ts';

/** Maximum size of a form, bytes. */
const MOST = 4 * 1024;

/**
 * Creates a form reader.
 * @param origin origin of the page
 * @returns a function that reads a form and refuses with `operator_form_forged`, `request_malformed`,
 *   `request_too_large` or `request_timeout`
 */
export function formReader<T>(origin: string, schema: z.ZodType<T>): (request: IncomingMessage) => Promise<T> {
  return async (request) => {
    const { origin: from, 'sec-fetch-site': site = 'same-origin', 'content-type': type } = request.headers;
    // Every browser sends Origin with a form. Fetch Metadata is newer, so it may be absent.
    if (from !== origin || site !== 'same-origin') throw forged();
    if (type?.split(';')[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded')
      throw new MeshpassError('request_malformed', 'The content type must be application/x-www-form-urlencoded.');
    const fields = new URLSearchParams(await readBody(request, MOST));
    const { form = '', ...members } = Object.fromEntries(fields);
    if (fields.size !== new Set(fields.keys()).size)
      throw new MeshpassError('request_malformed', 'The form contains a duplicate field.');
    const token = formToken(cookieOf(request, SESSION_COOKIE) ?? '', new URL(request.url ?? '/', origin).pathname);
    if (!equalInConstantTime(form, token)) throw forged();
    const read = schema.safeParse(members);
    if (read.success) return read.data;
    const [issue] = read.error.issues;
    throw new MeshpassError(
      'request_malformed',
      `The form is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.`,
    );
  };
}

function forged(): MeshpassError {
  return new MeshpassError(
    'operator_form_forged',
    "This form was not sent from this broker's page in your session. Open the request again.",
  );
}
