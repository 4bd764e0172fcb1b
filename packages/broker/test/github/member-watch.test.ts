/** The developers that a sweep of memberships queries when their number exceeds the limit per round. */
import { describe, expect, it } from 'vitest';
import type { SessionContext } from '../../src/core/session/context.ts';
import type { Live } from '../../src/core/session/live.ts';
import { createMemberWatch } from '../../src/core/watch/member-watch.ts';

const START = 1_800_000_000_000;
const ADMINS = 60;
const LEAVER = { id: 1000, login: 'leaver' };

/** Creates a live session of a developer who is a member of acme. */
function liveOf(id: number, login: string, attested: object): Live {
  const attestation = { attestor: 'github-actions', claims: {}, githubUser: { id, login }, teams: [], ...attested };
  return { session: { id: `s${id}`, openedAt: START / 1000 - 3600, attestation } } as unknown as Live;
}

/**
 * Creates live sessions of many admins and of one developer who is missing from a team list. GitHub confirms them all.
 */
function world() {
  const admins = Array.from({ length: ADMINS }, (_, index) =>
    liveOf(index + 1, `admin-${index + 1}`, { organizationRoles: ['acme/admin'] }),
  );
  const lives = [...admins, liveOf(LEAVER.id, LEAVER.login, { teams: ['acme/payments'] })];
  const people = lives.map(({ session }) => session.attestation.githubUser!);
  const asked: string[] = [];
  let now = START;
  const bodyOf = (path: string): unknown => {
    if (path.includes('/teams/') && path.includes('/members?')) return [];
    if (path.includes('/members?')) return people;
    const login = /\/memberships\/(.+)$/.exec(path)?.[1];
    asked.push(path.includes('/teams/') ? `team ${login}` : login!);
    return { state: 'active', role: 'admin', user: people.find((one) => one.login === login) };
  };
  const watch = createMemberWatch({ clock: () => now, live: { all: () => lives } } as unknown as SessionContext);
  return {
    asked,
    sweep: async () => {
      now += 60_000;
      asked.length = 0;
      await watch.sweep(async (_, path) => ({ status: 200, headers: new Headers(), body: bodyOf(path) }), undefined);
    },
  };
}

describe('with more admins than the limit per round', () => {
  it('queries a developer who is missing from a team list in every round', async () => {
    const { asked, sweep } = world();
    for (const _ of [1, 2]) {
      await sweep();
      expect(asked).toContain(`team ${LEAVER.login}`);
    }
  });

  it('queries the admins first whose last query was longest ago', async () => {
    const { asked, sweep } = world();
    await sweep();
    const first = new Set(asked.filter((one) => one.startsWith('admin-')));
    expect(first.size).toBe(50);
    await sweep();
    const second = asked.filter((one) => one.startsWith('admin-'));
    expect(second).toHaveLength(50);
    expect(second.slice(0, ADMINS - 50).filter((one) => first.has(one))).toEqual([]);
  });
});
