/** Access files whose approvals must be refused. The same form as bad-files.ts. */
import type { BAD_FILES } from './bad-files.ts';
import { fileWith } from './shop.ts';

const more = (text: string) => fileWith({ more: text });
const INVALID = 'access_file_invalid';

export const BAD_APPROVALS: typeof BAD_FILES = [
  ['an approval by nobody', more('approval: {by: []}'), INVALID, /by: nobody can approve/],
  [
    'an approval by an empty entry',
    more('approval: {by: {}}'),
    'access_file_who_empty',
    /empty entry would be everybody/,
  ],
  [
    'a reason that is neither',
    more('approval: {by: {user: bob}, reason: "yes"}'),
    INVALID,
    /reason: "yes" is not taken: required or optional$/,
  ],
  ['an approval by a job', more('approval: {by: [{issuer: ci}]}'), INVALID, /a job cannot approve/],
  [
    'an approval by whom nobody calls people',
    more('approval: {by: [{issuer: okta}]}'),
    INVALID,
    /nothing says that "okta" confirms people/,
  ],
  [
    'an approval from a repository',
    more('approval: {by: {repository: acme/payments}}'),
    INVALID,
    /leave out repository, ref and environment/,
  ],
  [
    'an emergency of half a day',
    more('approval: {by: [{user_id: 5}], emergency: {for: 12h}}'),
    INVALID,
    /for: 12h is too long: at most 4h$/,
  ],
  [
    'an emergency that is reviewed at once',
    more('approval: {by: [{user_id: 5}], emergency: {within: 1m}}'),
    INVALID,
    /within: 1m is too short: at least 1h$/,
  ],
  [
    'an emergency that nobody reviews',
    more('approval: {by: [{user_id: 5}], emergency: {review: []}}'),
    INVALID,
    /review: nobody can review/,
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
    /people review, wherever they are: leave out repository/,
  ],
  [
    'an emergency that nobody knows how to end',
    more('approval: {by: [{user_id: 5}], emergency: {max: 1h}}'),
    'access_file_unknown_key',
    /max/,
  ],
  [
    'an approval for a day',
    more('approval: {by: [{user_id: 5}], for: 24h}'),
    INVALID,
    /for: 24h is too long: at most 12h$/,
  ],
  [
    'an approval that ends before it begins',
    more('approval: {by: {user_id: 5}, for: 2h, max: 1h}'),
    INVALID,
    /max: is shorter than "for"$/,
  ],
  [
    'an approval in its former words',
    more('approval: {from: [{user_id: 5}]}'),
    'access_file_unknown_key',
    /"from" is called "by" now/,
  ],
  [
    'an approval that lasts',
    more('approval: {by: {user_id: 5}, lasts: 1h}'),
    'access_file_unknown_key',
    /"lasts" is now "for"/,
  ],
  [
    'an approval of an endpoint',
    fileWith({ to: '[{service: orders.shop, port: 80, approval: {by: {user_id: 5}}}]' }),
    'access_file_unknown_key',
    /an approval is of a whole grant/,
  ],
  [
    'a webhook without TLS',
    `approvals: {webhooks: {chat: {url: 'http://chat.example', speaksFor: github}}}\n${fileWith({})}`,
    INVALID,
    /is no address of a webhook/,
  ],
  [
    'a webhook for nobody known',
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
