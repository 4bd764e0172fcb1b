/** The form of `operators`: who may act on the broker itself. What an entry means is checked in load/check-operators.ts. */
import { isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { invalid, type Parsed } from '../problem.ts';
import { type DurationBounds, parseDuration } from './duration.ts';
import { read } from './text.ts';
import { who } from './who.ts';

export const OPERATOR_ROLES = ['viewer', 'approver', 'operator', 'security-officer', 'admin'] as const;

/** Actions that a second person can be asked to confirm: those that take something away for good, or from many. */
export const SECOND_PERSON_ACTIONS = [
  'sessions.close-all',
  'rotation.rotate',
  'rotation.revoke',
  'audit.prune',
  'policy.apply',
  'policy.rollback',
] as const;
export type SecondPersonAction = (typeof SECOND_PERSON_ACTIONS)[number];

const SESSION: DurationBounds = { least: '5m', most: '12h' };
const CONFIRM: DurationBounds = { least: '30s', most: '1h' };

const entries = z.array(who).min(1, 'nobody is named: leave the role out').max(100, 'more than 100 entries').optional();

const role = z.enum(OPERATOR_ROLES, `roles are ${OPERATOR_ROLES.join(', ')}`);

const serviceAccount = z.strictObject({
  serviceAccount: read(parseServiceAccount, {
    description: 'NAMESPACE/NAME of a Kubernetes ServiceAccount, for automation',
    pattern: '^[a-z0-9-]+/[a-z0-9.-]+$',
  }),
  roles: z.array(role).min(1, 'must not be empty').max(OPERATOR_ROLES.length, 'more roles than there are'),
});

export const operators = z.strictObject({
  viewer: entries.describe('May read'),
  approver: entries.describe('May read, and answer requests for access'),
  operator: entries.describe('May read, end sessions, and plan and apply access files'),
  'security-officer': entries.describe(
    'May read and export everything, end sessions, rotate and revoke keys, and prune',
  ),
  admin: entries.describe('May do everything'),
  serviceAccounts: z.array(serviceAccount).max(100, 'more than 100 entries').default([]),
  session: read((input) => parseDuration(input, SESSION), {
    description: "Hard end of an operator's session, 5m to 12h",
    pattern: '^[1-9][0-9]{0,5}[smh]$',
  }).prefault('1h'),
  confirm: read((input) => parseDuration(input, CONFIRM), {
    description: 'A session whose person the issuer has not confirmed for so long is refused until it does, 30s to 1h',
    pattern: '^[1-9][0-9]{0,5}[smh]$',
  }).prefault('5m'),
  deviceFlow: z
    .boolean()
    .default(false)
    .describe('Whether ID tokens without a nonce are accepted, which many issuers give in their device flow'),
  secondPerson: z
    .array(z.enum(SECOND_PERSON_ACTIONS, `actions are ${SECOND_PERSON_ACTIONS.join(', ')}`))
    .max(SECOND_PERSON_ACTIONS.length, 'more actions than there are')
    .default([])
    .describe('Actions that another operator has to confirm'),
});

function parseServiceAccount(input: string): Parsed<{ readonly namespace: string; readonly name: string }> {
  const [namespace = '', name = '', ...more] = input.split('/');
  const isName = name.length <= 253 && name.split('.').every(isDnsLabel);
  return more.length === 0 && isDnsLabel(namespace) && isName
    ? { value: { namespace, name } }
    : invalid(`${JSON.stringify(input)} is no ServiceAccount: write NAMESPACE/NAME`);
}
