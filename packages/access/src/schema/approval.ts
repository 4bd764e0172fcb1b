/**
 * The schema for `approval`. A grant with an approval is only active for a limited time after another person has
 * approved a request.
 */
import { z } from 'zod';
import { notValid, type Parsed } from '../problem.ts';
import { duration } from './duration.ts';
import { keyedByName, parseLabelName, read, report, text } from './text.ts';
import { who } from './who.ts';

/**
 * Creates the schema for a list of people. A single entry is accepted instead of a list.
 * @param empty the error message for an empty list
 */
const people = (description: string, empty: string) =>
  z
    .union([who, z.array(who).min(1, empty).max(50, 'more than 50 entries')])
    .transform((entries) => (Array.isArray(entries) ? entries : [entries]))
    .describe(description);

/** Emergency access is brief, and is reviewed while people still remember why it was needed. */
const emergency = z.strictObject({
  who: people(
    'People who may take the grant without an approval. They must also match "who" of the grant; without it, all of them',
    'an empty list matches no one: add an entry, or remove "who"',
  ).optional(),
  for: duration('Maximum duration', '1m', '4h').prefault('30m'),
  review: people(
    'People who review it afterwards: an entry as in "who", or a list of entries. Defaults to "by"',
    'the list of reviewers is empty: add an entry, or remove "review"',
  ).optional(),
  within: duration('Time limit of the review', '1h', '168h').prefault('24h'),
});

export const approval = z
  .strictObject({
    by: people(
      'People who may approve: an entry as in "who", or a list of entries',
      'the list of approvers is empty: add an entry',
    ),
    for: duration('Duration if the request has none', '1m', '12h').prefault('1h'),
    max: duration('Maximum duration of a request (default: "for")', '1m', '12h').optional(),
    reason: z.enum(['required', 'optional']).default('required').describe('Whether a request needs a reason'),
    count: z.int().min(1, 'at least 1').max(5, 'at most 5').default(1).describe('Number of people who must approve'),
    emergency: emergency
      .optional()
      .describe('Lets people take the grant for a short time without an approval, with a review afterwards'),
  })
  .superRefine((entry, context) => {
    if (entry.max !== undefined && entry.max < entry.for)
      report(context, 'must not be shorter than "for"', { path: ['max'] });
  });

/** The error message for an `approval` on an endpoint. Only whole grants support approvals. */
export const ENDPOINT_APPROVAL =
  'an approval applies to a whole grant: write a separate grant for this endpoint, with the same "who" and the approval';

const webhook = z.strictObject({
  url: read(parseWebhookUrl, {
    description: 'URL to which requests are sent, https://...',
    pattern: '^https://[^#\\s]+$',
  }),
  speaksFor: text.describe('Issuer of the people in its answers: github, or a name of trust.issuers'),
});

/** The schema for `approvals` at the top level of the file. */
export const approvals = z.strictObject({
  webhooks: keyedByName(webhook, (name) => parseLabelName(name, 'webhook name'), 20),
});

function parseWebhookUrl(input: string): Parsed<string> {
  const url = URL.canParse(input) ? new URL(input) : undefined;
  return url?.protocol === 'https:' && !url.username && !url.password && !input.includes('#')
    ? { value: input }
    : notValid(input, 'webhook URL: use https://HOST/PATH without a password');
}
