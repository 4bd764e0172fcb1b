/** The form of `approval`: a grant that somebody else has to give, for a while, to whoever asks for it. */
import { isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { invalid, type Parsed } from '../problem.ts';
import { type DurationBounds, parseDuration } from './duration.ts';
import { checked, named, read, text } from './text.ts';
import { who } from './who.ts';

const GIVEN: DurationBounds = { least: '1m', most: '12h' };
const DURATION = '^[1-9][0-9]{0,5}[smh]$';

/** What these keys were called while nobody could approve anything. */
const FORMER: Readonly<Record<string, { readonly now: string; readonly message: string }>> = {
  from: { now: 'by', message: '"from" is called "by" now: approval: {by: [{team: acme/leads}]}' },
  lasts: {
    now: 'for',
    message: '"lasts" is now "for" (where nobody says how long) and "max" (the longest): approval: {for: 1h, max: 8h}',
  },
};

const duration = (description: string) =>
  read((input) => parseDuration(input, GIVEN), { description, pattern: DURATION });

export const approval = z
  .strictObject({
    by: z
      .union([who, z.array(who).min(1, 'nobody can approve: name somebody').max(50, 'more than 50 entries')])
      .transform((entries) => (Array.isArray(entries) ? entries : [entries]))
      .describe('Who may approve: an entry as in "who", or a list of them'),
    for: duration('How long it is given where the request does not say, 1m to 12h').prefault('1h'),
    max: duration('The longest that can be asked for and given; where absent, "for"').optional(),
    reason: z.enum(['required', 'optional']).default('required').describe('Whether a request needs a reason'),
    count: z
      .int()
      .min(1, 'at least 1')
      .max(5, 'at most 5')
      .default(1)
      .describe('How many different people must approve'),
  })
  .superRefine((entry, context) => {
    if (entry.max !== undefined && entry.max < entry.for)
      context.addIssue({ code: 'custom', message: 'is shorter than "for"', path: ['max'] });
  });

/** What a reader of an older file is told of a key of it, and what it is called now. @returns undefined where it never was one */
export function formerKey(path: readonly PropertyKey[], key: string): (typeof FORMER)[string] | undefined {
  return path.at(-1) === 'approval' && Object.hasOwn(FORMER, key) ? FORMER[key] : undefined;
}

/** `approval` beside an endpoint: it cannot stand there. */
export const ENDPOINT_APPROVAL =
  'an approval is of a whole grant: write a grant of its own for this endpoint, with the same "who" and its approval';

const webhook = z.strictObject({
  url: checked(parseWebhookUrl, { description: 'Where requests are sent, https://...', pattern: '^https://[^#\\s]+$' }),
  speaksFor: text.describe('Issuer whose people it names: github, or a name of trust.issuers'),
});

/** `approvals` at the top level. */
export const approvals = z.strictObject({ webhooks: named(webhook, parseWebhookName, 20) });

function parseWebhookName(name: string): Parsed<string> {
  return isDnsLabel(name)
    ? { value: name }
    : invalid(`"${name}" is no name of a webhook: lower-case letters, digits and inner hyphens`);
}

function parseWebhookUrl(input: string): Parsed<string> {
  const url = URL.canParse(input) ? new URL(input) : undefined;
  return url?.protocol === 'https:' && !url.username && !url.password && !input.includes('#')
    ? { value: input }
    : invalid(`${JSON.stringify(input)} is no address of a webhook: write https://HOST/PATH, without a password`);
}
