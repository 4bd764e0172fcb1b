/** Zod schemas for strings that have their own parsers. The schemas also provide patterns for editors. */

import { type ErrorCode, isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { notValid, type Parsed } from '../problem.ts';

/** Hints for editors. They do not affect validation, which is done by the parser. */
export interface Form {
  readonly description?: string;
  /** An ECMA-262 pattern for the whole text. It must match everything that the parser accepts. */
  readonly pattern?: string;
  readonly examples?: string[];
}

export const text = z.string().min(1, 'must not be empty').max(512, 'is longer than 512 characters');

/** Text that is displayed to people in logs and terminals. */
export const displayText = text.refine(
  (value) => !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(value),
  'contains a control character or an invisible character',
);

/** A pattern for GitHub logins, for use in editors. */
export const LOGIN_PATTERN = '[A-Za-z0-9][A-Za-z0-9-]{0,38}(_[A-Za-z0-9]{1,16})?';

/**
 * Reports a problem with a value, or with the field at `path`. The code is `access_file_invalid` by default.
 * @param at `key` if the problem is in the key and not in the value
 */
export function report(
  context: z.RefinementCtx,
  message: string,
  { path = [], ...params }: { readonly path?: PropertyKey[]; readonly code?: ErrorCode; readonly at?: 'key' } = {},
): void {
  context.addIssue({ code: 'custom', message, path, params });
}

/** Creates a refinement that reports everything that a parser rejects. */
export function refineWithParser<T>(
  parser: (input: T) => Parsed<unknown>,
): (input: T, context: z.RefinementCtx) => void {
  return (input, context) => {
    const result = parser(input);
    if ('message' in result) report(context, result.message, { code: result.code });
  };
}

/** Creates the schema for a string that has its own parser. Its errors have the parser's code. */
export function read<T>(reader: (input: string) => Parsed<T>, form: Form = {}) {
  return text
    .transform((input, context): T => {
      const result = reader(input);
      if ('value' in result) return result.value;
      report(context, result.message, { code: result.code });
      return z.NEVER;
    })
    .meta({ ...form });
}

/** Removes properties that are undefined, because exact optional types distinguish them from absent ones. */
export function omitUndefined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}

/** Creates the schema for a map with names as keys. If a name is invalid, the problem is reported at its key. */
export function keyedByName<T extends z.ZodType>(value: T, name: (input: string) => Parsed<unknown>, most = 500) {
  return z.record(z.string(), value).superRefine((entries, context) => {
    for (const key of Object.keys(entries)) {
      const result = name(key);
      if ('message' in result) report(context, result.message, { path: [key], code: result.code, at: 'key' });
    }
    if (Object.keys(entries).length > most) report(context, `more than ${most} entries`);
  });
}

/**
 * Parses a name that must be a DNS label.
 * @param what the kind of the name, for messages
 */
export function parseLabelName(name: string, what: string): Parsed<string> {
  return isDnsLabel(name)
    ? { value: name }
    : notValid(name, `${what}: use lower-case letters, digits and inner hyphens`);
}
