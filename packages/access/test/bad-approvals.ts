/** Access files whose approvals must be refused. The same form as bad-files.ts. */
import type { BAD_FILES } from './bad-files.ts';
import { fileWith } from './shop.ts';

const more = (text: string) => fileWith({ more: text });
const INVALID = 'access_file_invalid';

export const BAD_APPROVALS: typeof BAD_FILES = [
  ['an approval by nobody', more('approval: {by: []}'), INVALID, /by: the list of approvers is empty/],
  [
    'an approval by an empty entry',
    more('approval: {by: {}}'),
    'access_file_who_empty',
    /empty entry would match everyone/,
  ],
  [
    'a reason that is neither',
    more('approval: {by: {user: bob}, reason: "yes"}'),
    INVALID,
    /reason: "yes" is not allowed: use required or optional$/,
  ],
  ['an approval by a job', more('approval: {by: [{issuer: ci}]}'), INVALID, /a job cannot approve/],
  [
    'an approval by an issuer without people',
    more('approval: {by: [{issuer: okta}]}'),
    INVALID,
    /"okta" may issue tokens to CI jobs instead of people/,
  ],
  [
    'an approval from a repository',
    more('approval: {by: {repository: acme/payments}}'),
    INVALID,
    /remove repository, ref and environment/,
  ],
  [
    'an emergency of half a day',
    more('approval: {by: [{user_id: 5}], emergency: {for: 12h}}'),
    INVALID,
    /for: 12h is too long: the maximum is 4h$/,
  ],
  [
    'an emergency that is reviewed at once',
    more('approval: {by: [{user_id: 5}], emergency: {within: 1m}}'),
    INVALID,
    /within: 1m is too short: the minimum is 1h$/,
  ],
  [
    'an emergency without reviewers',
    more('approval: {by: [{user_id: 5}], emergency: {review: []}}'),
    INVALID,
    /review: the list of reviewers is empty/,
  ],
  [
    'an emergency that a job takes',
    more('approval: {by: [{user_id: 5}], emergency: {who: {issuer: ci}}}'),
    INVALID,
    /a job cannot take a grant in an emergency/,
  ],
  [
    'an emergency that is reviewed from a repository',
    more('approval: {by: [{user_id: 5}], emergency: {review: {repository: acme/payments}}}'),
    INVALID,
    /only people can review, from any repository: remove repository/,
  ],
  [
    'an emergency with an unknown key',
    more('approval: {by: [{user_id: 5}], emergency: {max: 1h}}'),
    'access_file_unknown_key',
    /max/,
  ],
  [
    'an approval for a day',
    more('approval: {by: [{user_id: 5}], for: 24h}'),
    INVALID,
    /for: 24h is too long: the maximum is 12h$/,
  ],
  [
    'an approval that ends before it begins',
    more('approval: {by: {user_id: 5}, for: 2h, max: 1h}'),
    INVALID,
    /max: must not be shorter than "for"$/,
  ],
  [
    'an approval of an endpoint',
    fileWith({ to: '[{service: orders.shop, port: 80, approval: {by: {user_id: 5}}}]' }),
    'access_file_unknown_key',
    /an approval applies to a whole grant/,
  ],
  [
    'a webhook without TLS',
    `approvals: {webhooks: {chat: {url: 'http://chat.example', speaksFor: github}}}\n${fileWith({})}`,
    INVALID,
    /is not a valid webhook URL/,
  ],
  [
    'a webhook for an unknown issuer',
    `approvals: {webhooks: {chat: {url: 'https://chat.example', speaksFor: nobody}}}\n${fileWith({})}`,
    INVALID,
    /speaksFor: unknown issuer "nobody"/,
  ],
  [
    'a webhook for jobs',
    `approvals: {webhooks: {chat: {url: 'https://chat.example', speaksFor: ci}}}\n${fileWith({})}`,
    INVALID,
    /speaksFor: a job cannot approve/,
  ],
];
