/** Two files that differ in who operates, approves, reviews or is denied always result in a visible change. */
import { approverEntry, authorize, operatorRoles, parseAccess, serviceAccountRoles } from '@meshpass/access';
import type { Access } from '@meshpass/access/compile';
import type { Attestation } from '@meshpass/identity';
import { expect, it } from 'vitest';
import { accessChanges } from '../../src/plan/access-changes.ts';
import { pick as pickBy, seeded } from '../diff/random-policies.ts';

const ROUNDS = 200;
const SEED = 20_261_129;

const random = seeded(SEED);
const next = (below: number): number => Math.floor(random() * below);
const pick = <T>(all: readonly T[]): T => pickBy(random, all);
const some = <T>(all: readonly T[], most: number): readonly T[] =>
  Array.from({ length: 1 + next(most) }, () => pick(all));

/** Names of our members, and names that resemble them. */
const CLAIMS = ['place', 'reason', 'name', 'groups', 'sub'];
const WORDS = ['a', 'b'];
const ISSUERS = ['okta', 'corp'];
const ROLES = ['viewer', 'approver', 'operator', 'security-officer', 'admin'];

const entry = () => `{issuer: ${pick(ISSUERS)}, claims: {${pick(CLAIMS)}: [${some(WORDS, 2).join(', ')}]}}`;
const list = (most: number) => `[${Array.from({ length: 1 + next(most) }, entry).join(', ')}]`;

interface Parts {
  readonly [part: string]: string;
}

const MAKE: Readonly<Record<string, () => string>> = {
  client: () => pick(['cli', 'other']),
  ...Object.fromEntries(ROLES.map((role) => [role, () => (next(2) ? list(2) : '')])),
  account: () => pick(['ci/place', 'ci/name']),
  accountRole: () => pick(ROLES),
  deny: () => (next(2) ? list(2) : '[]'),
  except: () => (next(3) ? '[]' : list(1)),
  by: () => (next(4) ? list(2) : ''),
  review: () => (next(2) ? list(2) : ''),
  who: () => list(2),
  ttl: () => pick(['10m', '1h']),
  comment: () => '\n'.repeat(next(3)),
};

function fileOf(parts: Parts): string {
  const roles = ROLES.flatMap((role) => (parts[role] ? [`${role}: ${parts[role]}`] : []));
  const emergency = parts.review ? `, emergency: {review: ${parts.review}}` : '';
  return `${parts.comment}trust:
  issuers:
    okta: {issuer: 'https://okta.example', audience: meshpass, signIn: {client: ${parts.client}}}
    corp: {issuer: 'https://corp.example', audience: meshpass, signIn: {client: cli}}
operators: {${[...roles, `serviceAccounts: [{serviceAccount: ${parts.account}, roles: [${parts.accountRole}]}]`].join(', ')}}
deny: ${parts.deny}
grants:
  dev:
    who: ${parts.who}
    except: ${parts.except}
    to: [{service: orders.shop, port: 80}]
    ttl: ${parts.ttl}${parts.by ? `\n    approval: {by: ${parts.by}${emergency}}` : ''}
`;
}

/** Persons, one for each value of each claim at each issuer and client. */
const PEOPLE: readonly Attestation[] = ISSUERS.flatMap((issuer) =>
  ['cli', 'other'].flatMap((aud) =>
    CLAIMS.flatMap((claim) =>
      WORDS.map((word): Attestation => {
        // The other claims are present with another value, so that no denial fails to match because of a missing claim.
        const claims = Object.fromEntries(CLAIMS.map((name) => [name, name === claim ? word : 'c']));
        const subject = `${issuer}:${claim}:${word}`;
        return {
          attestor: 'oidc',
          issuer,
          subject,
          login: subject,
          teams: [],
          proofHash: 'a'.repeat(64),
          claims: { iss: `https://${issuer}.example`, aud, ...claims },
          workspace: { kind: 'other', key: subject, name: subject },
        };
      }),
    ),
  ),
);

/** Decisions about every person by the broker's functions. */
function powers(access: Access): string {
  const [dev] = access.grants;
  const { approval } = dev!;
  const review = approval?.emergency?.review;
  const everybody = { ...access, grants: [{ ...dev!, who: PEOPLE.map((one) => named(one, dev!.place)) }] };
  return JSON.stringify([
    ...['place', 'name'].map((name) => serviceAccountRoles('ci', name, access).roles.map(({ role }) => role)),
    ...PEOPLE.map((person) => [
      operatorRoles(person, access).roles.map(({ role }) => role),
      approval !== undefined && approverEntry(approval, person, access, 1) !== undefined,
      review !== undefined && approverEntry({ by: review }, person, access, 1) !== undefined,
      // Denials, evaluated as if everyone could hold the grant.
      authorize(person, everybody, 1).refusals.some((why) => why.includes(' denied: ')),
    ]),
  ]);
}

/** Paths that determine who operates, approves, reviews or is denied. */
const DECIDES = /^(?:trust|operators|deny|grants\.dev\.(?:except|approval))(?:\.|$)/;

function named({ issuer }: Attestation, place: Access['grants'][number]['place']) {
  return { place, issuer, when: 'subject != ""' };
}

it('shows a difference between any two files that differ in who operates, approves, reviews or is denied', () => {
  let differing = 0;
  let alike = 0;
  let parts: Parts = Object.fromEntries(Object.entries(MAKE).map(([name, make]) => [name, make()]));
  for (let round = 0; round < ROUNDS; round++) {
    const part = pick(Object.keys(MAKE));
    const other = { ...parts, [part]: MAKE[part]!() };
    const [before, after] = [parts, other].map((one) => parseAccess(fileOf(one), 'access.yaml')) as [Access, Access];
    const changes = accessChanges(before, after);
    const hint = `seed ${SEED}, round ${round}, ${part}:\n${fileOf(parts)}\n${fileOf(other)}`;
    if (powers(before) === powers(after)) alike++;
    else {
      differing++;
      // The change concerns a deciding path, not only an unrelated one.
      const decides = changes.filter(({ path, says }) => DECIDES.test(path) && says !== '');
      expect(decides, hint).not.toEqual([]);
    }
    if (part === 'comment') expect(changes, hint).toEqual([]);
    parts = other;
  }
  expect(differing).toBeGreaterThan(50);
  expect(alike).toBeGreaterThan(50);
}, 120_000);
