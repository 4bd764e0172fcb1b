/** Claims and the values that are wanted of them: `{department: finance, groups: [sre, dev]}`. */
import { z } from 'zod';
import type { ClaimValues } from '../model.ts';
import { invalid, type Parsed } from '../problem.ts';
import { named } from './text.ts';

// Brackets would end the name in a condition of Istio; `https://acme.example/roles` is a usual name.
const NAME = /^[A-Za-z0-9_.:/-]{1,128}$/;
// `*` at either end would be a pattern to Istio.
const VALUE = /^[^*\p{Cc}]{1,256}$/u;

const scalar = z
  .union([z.string(), z.number(), z.boolean()])
  .transform((value) => String(value))
  .superRefine((value, context) => {
    if (!VALUE.test(value))
      context.addIssue({
        code: 'custom',
        message: `${JSON.stringify(value.slice(0, 80))} cannot be a value: 1 to 256 characters without *, compared exactly`,
      });
  });

const values = z
  .union([scalar, z.array(scalar).min(1, 'must not be empty').max(50, 'more than 50 values')])
  .transform((value): readonly string[] => [...new Set(Array.isArray(value) ? value : [value])]);

/** At least one claim, each with the values of which one must be there. */
export const claimValues = named(values, parseClaimName, 20)
  .superRefine((entries, context) => {
    if (Object.keys(entries).length === 0)
      context.addIssue({ code: 'custom', message: 'no claim is named: leave it out' });
  })
  .transform((entries): ClaimValues => entries)
  .meta({ minProperties: 1 });

function parseClaimName(name: string): Parsed<string> {
  return NAME.test(name)
    ? { value: name }
    : invalid(`"${name}" is no name of a claim at the top of a token: use "when" for what lies deeper`);
}
