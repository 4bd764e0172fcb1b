/**
 * The schema for `operators`, which controls access to the broker itself. Its entries are checked in
 * `load/check-references.ts`.
 */
import { isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { OPERATOR_ROLES } from '../model.ts';
import { notValid, type Parsed } from '../problem.ts';
import { duration } from './duration.ts';
import { read } from './text.ts';
import { who } from './who.ts';

const entries = z
  .array(who)
  .min(1, 'the role has no entries: add one, or remove the role')
  .max(100, 'more than 100 entries')
  .optional();

const role = z.enum(OPERATOR_ROLES, `roles are ${OPERATOR_ROLES.join(', ')}`);

const serviceAccount = z
  .strictObject({
    serviceAccount: read(parseServiceAccount, {
      description: 'NAMESPACE/NAME of a Kubernetes ServiceAccount, for automation',
      pattern: '^[a-z0-9-]+/[a-z0-9.-]+$',
    }),
    roles: z.array(role).min(1, 'must not be empty').max(OPERATOR_ROLES.length, 'lists a role twice'),
  })
  .transform(({ serviceAccount, roles }) => ({ ...serviceAccount, roles }));

export const operators = z.strictObject({
  viewer: entries.describe('May read'),
  approver: entries.describe('May read, and answer requests for access'),
  operator: entries.describe('May read, end sessions, and plan changes of the access file'),
  'security-officer': entries.describe(
    'May read and export everything, end sessions, rotate and revoke keys, and prune',
  ),
  admin: entries.describe('May do everything'),
  serviceAccounts: z.array(serviceAccount).max(100, 'more than 100 entries').default([]),
  session: duration("Hard end of an operator's session", '5m', '12h').prefault('1h'),
  deviceFlow: z
    .boolean()
    .default(false)
    .describe('Whether ID tokens without a nonce are accepted. Many issuers omit it in their device flow'),
});

function parseServiceAccount(input: string): Parsed<{ readonly namespace: string; readonly name: string }> {
  const [namespace = '', name = '', ...more] = input.split('/');
  const isName = name.length <= 253 && name.split('.').every(isDnsLabel);
  return more.length === 0 && isDnsLabel(namespace) && isName
    ? { value: { namespace, name } }
    : notValid(input, 'ServiceAccount: use NAMESPACE/NAME');
}
