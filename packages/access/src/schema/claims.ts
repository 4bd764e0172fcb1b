/** The schema for required claims, such as `{department: finance, groups: [sre, dev]}`. */
import { z } from 'zod';
import type { ClaimValues } from '../model.ts';
import { malformedText, type Parsed } from '../problem.ts';
import { keyedByName, report } from './text.ts';

// Claim names such as `https://acme.example/roles` are common. Brackets are excluded because one would end the name in
// an Istio condition.
const NAME = /^[A-Za-z0-9_.:/-]{1,128}$/;
// A `*` at either end of a value is excluded because Istio would treat it as a pattern.
const VALUE = /^[^*\p{Cc}]{1,256}$/u;

const scalar = z
  .union([z.string(), z.number(), z.boolean()])
  .transform((value) => String(value))
  .superRefine((value, context) => {
    if (!VALUE.test(value))
      report(
        context,
        `${JSON.stringify(value.slice(0, 80))} is not a valid claim value: use 1 to 256 characters without *, compared exactly`,
      );
  });

const values = z
  .union([scalar, z.array(scalar).min(1, 'must not be empty').max(50, 'more than 50 values')])
  .transform((value): readonly string[] => [...new Set(Array.isArray(value) ? value : [value])]);

/** A map of at least one claim to its accepted values. */
export const claimValues = keyedByName(values, parseClaimName, 20)
  .superRefine((entries, context) => {
    if (Object.keys(entries).length === 0) report(context, 'must not be empty: add a claim, or remove it');
  })
  .transform((entries): ClaimValues => entries)
  .meta({ minProperties: 1 });

function parseClaimName(name: string): Parsed<string> {
  return NAME.test(name)
    ? { value: name }
    : malformedText(`"${name}" is not the name of a top-level claim: use "when" for nested claims`);
}
