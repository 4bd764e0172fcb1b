/** Teams by id: a renamed team keeps its access, and no other team gets it with the name. */

import { parseAccess } from '@meshpass/access';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Harness, renewLease } from '../../harness/broker.ts';
import { opened, present, startGithubHarness } from '../../harness/github.ts';

/** Ids of acme/payments, with alice as a member, and of acme/sre, with bob. */
const [PAYMENTS, SRE] = [31, 32];

let github: RunningGithub;
let harness: Harness;

beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
  harness = await startGithubHarness({ github, config: { githubSweepSeconds: 3600, githubMemberSeconds: 1 } });
});
afterAll(async () => {
  await harness?.stop();
  await github?.close();
});
beforeEach(async () => {
  await github.admin.reset();
  // No process caches GitHub's answers from before its reset, and earlier losses have settled.
  await harness.restart();
  harness.clockAhead += 10_500;
});

const grants = (who: string, deny = '') => {
  const text = `trust: {codespaces: {organization: acme}}
${deny}
grants:
  dev: {who: [${who}], to: [{service: orders.shop, port: 8080}]}
`;
  const { grants, deny: denied } = parseAccess(text, 'access.yaml');
  harness.mesh.setAccess(grants, [], { codespaces: { organization: 'acme' } }, denied);
};
const codespace = (owner = 'alice') =>
  github.admin.createCodespace({ owner, repository: 'acme/payments-api', tokenReadsCodespaces: true });
const refused = { status: 403, json: { error_code: 'access_none' } };
const isIn = async (space: StartedCodespace) => expect(await present(harness, space)).toMatchObject({ status: 200 });
const isOut = async (space: StartedCodespace) => expect(await present(harness, space)).toMatchObject(refused);

describe('a grant to a team with its id', () => {
  beforeEach(() => grants(`{team: acme/payments, team_id: ${PAYMENTS}}`));

  it('matches only its members', async () => {
    await isIn(await codespace());
    await isOut(await codespace('carol'));
  });

  it('stays with the team when that is renamed', async () => {
    await github.admin.renameTeam('acme/payments', 'payments-old');
    await isIn(await codespace());
  });

  it('does not go to a team that takes the name', async () => {
    await github.admin.renameTeam('acme/payments', 'payments-old');
    await github.admin.createTeam('acme/payments');
    await github.admin.addToTeam('acme/payments', 'carol');
    await isOut(await codespace('carol'));
    await isIn(await codespace());
  });

  it('does not go to a team that is renamed to it', async () => {
    await github.admin.renameTeam('acme/payments', 'payments-old');
    await github.admin.renameTeam('acme/sre', 'payments');
    await isOut(await codespace('bob'));
  });

  it('matches no person if the id belongs to another team or organization', async () => {
    grants(`{team: acme/payments, team_id: ${SRE}}`);
    await isOut(await codespace());
    grants('{team: acme/payments, team_id: 999}');
    await isOut(await codespace());
  });

  it('ends with the membership, under any name', async () => {
    const who = await opened(harness, await codespace());
    harness.clockAhead += 10_500;
    await github.admin.renameTeam('acme/payments', 'payments-old');
    await github.admin.removeFromTeam('acme/payments-old', 'alice');
    await vi.waitFor(
      async () => expect(await renewLease(harness, who)).toMatchObject({ kind: 'ended', cause: 'membership_lost' }),
      { timeout: 60_000, interval: 100 },
    );
  });
});

it('a grant to a team by its slug alone goes to whichever team has it', async () => {
  grants('{team: acme/payments}');
  await github.admin.renameTeam('acme/payments', 'payments-old');
  await isOut(await codespace());
});

describe('a denial of a team by its id', () => {
  const deny = (id: number) => grants('{role: acme/member}', `deny: [{team: acme/contractors, team_id: ${id}}]`);

  it('matches only its members, under any name', async () => {
    deny(PAYMENTS);
    await isOut(await codespace());
    await isIn(await codespace('carol'));
    await github.admin.renameTeam('acme/payments', 'something-else');
    await isOut(await codespace());
  });

  it('matches every person if GitHub does not show such a team', async () => {
    deny(999);
    await isOut(await codespace('carol'));
  });
});
