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

const duration = (description: string, bounds = GIVEN) =>
  read((input) => parseDuration(input, bounds), { description, pattern: DURATION });

/** People, as an entry or a list of them. @param nobody what is said of an empty list */
const people = (description: string, nobody: string) =>
  z
    .union([who, z.array(who).min(1, nobody).max(50, 'more than 50 entries')])
    .transform((entries) => (Array.isArray(entries) ? entries : [entries]))
    .describe(description);

/** Access that somebody takes without an approval. It is short, and reviewed while people remember why. */
const TAKEN: DurationBounds = { least: '1m', most: '4h' };
const REVIEWED: DurationBounds = { least: '1h', most: '168h' };

const emergency = z.strictObject({
  who: people(
    'Who may take the grant without an approval, of those who may ask for it; where absent, all of them',
    'nobody can take it: name somebody, or leave out "who"',
  ).optional(),
  for: duration('The longest that it is given, 1m to 4h', TAKEN).prefault('30m'),
  review: people(
    'Who reviews it afterwards: an entry as in "who", or a list of them; where absent, "by"',
    'nobody can review: name somebody, or leave out "review"',
  ).optional(),
  within: duration('The time in which it must be reviewed, 1h to 168h', REVIEWED).prefault('24h'),
});

export const approval = z
  .strictObject({
    by: people('Who may approve: an entry as in "who", or a list of them', 'nobody can approve: name somebody'),
    for: duration('How long it is given where the request does not say, 1m to 12h').prefault('1h'),
    max: duration('The longest that can be asked for and given; where absent, "for"').optional(),
    reason: z.enum(['required', 'optional']).default('required').describe('Whether a request needs a reason'),
    count: z
      .int()
      .min(1, 'at least 1')
      .max(5, 'at most 5')
      .default(1)
      .describe('How many different people must approve'),
    emergency: emergency
      .optional()
      .describe('That people may take the grant without an approval, for a short time, and are reviewed afterwards'),
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
