/** Pieces of text that readers of ours understand, as zod schemas that editors can check by a pattern. */
import { z } from 'zod';
import type { Parsed } from '../problem.ts';

/** What an editor is told of a piece of text: no more than a hint, the reader decides. */
export interface Form {
  readonly description?: string;
  /** ECMA-262, whole. Must take everything that the reader takes. */
  readonly pattern?: string;
  readonly examples?: string[];
}

export const text = z.string().min(1, 'must not be empty').max(512, 'is longer than 512 characters');

/** Words for people, which stand in logs and on terminals. */
export const words = text.refine(
  (value) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(value),
  'has a control character, or one that is not seen',
);

/** GitHub logins, for patterns of editors. */
export const LOGIN = '[A-Za-z0-9][A-Za-z0-9-]{0,38}(_[A-Za-z0-9]{1,16})?';

/** Text that one of our own readers understands; its refusal keeps its code. */
export function read<T>(reader: (input: string) => Parsed<T>, form: Form = {}) {
  return text
    .transform((input, context): T => {
      const result = reader(input);
      if ('value' in result) return result.value;
      context.addIssue({ code: 'custom', message: result.message, params: { code: result.code } });
      return z.NEVER;
    })
    .meta({ ...form, ...(form.examples && { examples: [...form.examples] }) });
}

/** Keeps the text itself of what a reader accepts. */
export function checked(reader: (input: string) => Parsed<unknown>, form: Form = {}) {
  return read((input) => {
    const result = reader(input);
    return 'value' in result ? { value: input } : result;
  }, form);
}

/** A map whose keys are names; a bad name is reported at the key. */
export function named<T extends z.ZodType>(value: T, name: (input: string) => Parsed<unknown>, most = 500) {
  return z.record(z.string(), value).superRefine((entries, context) => {
    for (const key of Object.keys(entries)) {
      const result = name(key);
      if ('message' in result)
        context.addIssue({
          code: 'custom',
          path: [key],
          message: result.message,
          params: { code: result.code, at: 'key' },
        });
    }
    if (Object.keys(entries).length > most) context.addIssue({ code: 'custom', message: `more than ${most} entries` });
  });
}
