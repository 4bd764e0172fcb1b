/** Laws of the decision by which sessions open, lose grants and gain them, over random files, people, losses and times. */
import { type Access, type Approved, authorize, type Grant, openUntil } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { attestationFacts, createLosses } from '../../src/attest/github/losses.ts';
import { computeEntitlement } from '../../src/core/session/entitlement.ts';
import { applyLosses, settledAttestation } from '../../src/core/session/known-losses.ts';
import { HARD_LIMIT_SECONDS, type Session } from '../../src/core/session/session.ts';
import { grant } from '../harness/mesh.ts';

const ROUNDS = 2_000;
const OPENED_AT = 1_800_000_000;
const TEAMS = ['acme/a', 'acme/b', 'acme/c'];
const place = { file: 'access.yaml', line: 9, column: 5 };
const approval = { place, by: [{ place, user: 'lead' }], for: 3600, max: 7200, reason: 'optional', count: 1 } as const;

/** Returns numbers below 1 that depend on the seed alone (a linear congruential generator). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

function world(seed: number) {
  const random = seeded(seed);
  const below = (end: number) => Math.floor(random() * end);
  const some = <T>(all: readonly T[]) => all.filter(() => random() < 0.5);
  const grants = Array.from({ length: 1 + below(6) }, (_, n): Grant => {
    const who = random() < 0.7 ? [{ place, team: TEAMS[below(TEAMS.length)]! }] : [{ place, role: 'acme/member' }];
    const more = { who, session: 60 + below(2 * HARD_LIMIT_SECONDS), ...(random() < 0.3 && { approval }) };
    return grant(`grant-${n}`, [], more);
  });
  const access: Access = {
    file: 'access.yaml',
    trust: {
      issuers: [],
      audiences: [],
      ...(random() < 0.9 && { codespaces: { place, organization: 'acme' } }),
    } as never,
    deny: [],
    grants,
  };
  const attestation: Attestation = {
    attestor: 'github-codespace',
    issuer: 'github',
    subject: 'github:7',
    login: 'ann',
    githubUser: { id: 7, login: 'ann' },
    teams: some(TEAMS),
    organizationRoles: some(['acme/member']),
    claims: { codespace_id: 1, codespace_name: 'ann-1', billable_owner: 'acme', repository_owner: 'acme' },
    proofHash: '',
    workspace: { kind: 'codespace', key: 'codespace:1', name: 'ann-1' },
  };
  const approved: Approved = new Map(
    some(grants).map(({ name }) => [name, OPENED_AT + below(HARD_LIMIT_SECONDS)] as const),
  );
  const now = OPENED_AT + below(HARD_LIMIT_SECONDS);
  const losses = createLosses(() => now * 1000);
  const session = { attestation, openedAt: OPENED_AT } as Session;
  return { below, some, access, session, approved, now, losses, grants };
}

const each = (law: (one: ReturnType<typeof world>) => void) => () => {
  for (let seed = 1; seed <= ROUNDS; seed++)
    try {
      law(world(seed));
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
};

describe('an entitlement', () => {
  it(
    "ends no later than the hard limit, the grant's `session` and its window",
    each(({ access, session, approved, now, grants }) => {
      const { grants: entitled } = computeEntitlement(authorize, session, access, now, approved);
      for (const [name, { until }] of entitled) {
        const { session: limit, during } = grants.find((one) => one.name === name)!;
        expect(until).toBeLessThanOrEqual(OPENED_AT + Math.min(limit, HARD_LIMIT_SECONDS));
        if (during) expect(until).toBeLessThanOrEqual(openUntil(during, now)!);
      }
    }),
  );

  it(
    'has nothing if the proof is no longer trusted',
    each(({ access, session, approved, now }) => {
      if (access.trust.codespaces) return;
      const { grants, denied } = computeEntitlement(authorize, session, access, now, approved);
      expect([grants.size, denied === undefined]).toEqual([0, false]);
    }),
  );

  it(
    'has a grant that requires an approval only with one, and approvals add no other grant',
    each(({ access, session, approved, now, grants }) => {
      const without = computeEntitlement(authorize, session, access, now).grants;
      const having = computeEntitlement(authorize, session, access, now, approved).grants;
      for (const { name, approval: required } of grants) {
        if (required) expect(without.has(name)).toBe(false);
        if (!required || !approved.has(name)) expect(having.has(name)).toBe(without.has(name));
      }
    }),
  );

  it(
    'never grows by a loss; a lost team removes only itself; a lost workspace or membership ends the session',
    each(({ some, access, session, approved, now, losses }) => {
      const before = computeEntitlement(authorize, session, access, now, approved).grants;
      const lost = some(attestationFacts(session.attestation, 'acme'));
      for (const fact of lost) losses.lose(fact);
      const after = applyLosses(losses, session, 'acme');
      const entitled = computeEntitlement(
        authorize,
        { ...session, attestation: after.attestation },
        access,
        now,
        approved,
      );
      for (const [name, { until }] of entitled.grants) expect(until).toBeLessThanOrEqual(before.get(name)?.until ?? 0);
      const isEnd = lost.some(({ kind }) => kind === 'codespace' || kind === 'member');
      expect(after.ended !== undefined).toBe(isEnd);
      if (!isEnd) {
        const teams = new Set(lost.flatMap((fact) => (fact.kind === 'team' ? [fact.team] : [])));
        expect(after.attestation.teams).toEqual(session.attestation.teams.filter((team) => !teams.has(team)));
      }
    }),
  );

  it(
    'for a gain never exceeds the one that a session keeps',
    each(({ some, access, session, approved, now, losses }) => {
      for (const fact of some(attestationFacts(session.attestation, 'acme'))) losses.lose(fact);
      const kept = applyLosses(losses, session, 'acme');
      const settled = settledAttestation(losses, session, 'acme');
      if (kept.ended !== undefined) return expect(settled).toBeUndefined();
      const keeps = computeEntitlement(
        authorize,
        { ...session, attestation: kept.attestation },
        access,
        now,
        approved,
      ).grants;
      const gains = computeEntitlement(authorize, { ...session, attestation: settled! }, access, now, approved).grants;
      for (const name of gains.keys()) expect(keeps.has(name)).toBe(true);
    }),
  );
});
