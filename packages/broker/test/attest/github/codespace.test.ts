/** Codespaces that are accepted, against a GitHub that follows the published description. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { CODESPACE_STATES } from '@meshpass/lab/github/state';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attestor } from '../../../src/attest/attest.ts';
import { attestCodespace, createCodespaceTokenLimiter } from '../../../src/attest/github/codespace.ts';
import type { PresenceCheck } from '../../../src/attest/presence/presence.ts';
import { labOnlyPlainHttpIssuers } from '../../../src/issuers/issuer-http.ts';
import { createWorld, presentCodespace, refusal, type World, type WorldOptions } from '../world.ts';

const NOTHING = { teams: [], roles: [], denied: [] };
const PRESENTER = { jkt: 'unused', source: '192.0.2.1' };
const presence: PresenceCheck = { show: async () => 'not_asked' };
const guesses = createCodespaceTokenLimiter(Date.now);

let world: World;
let alice: StartedCodespace;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.github.admin.reset();
  // Its token may read Codespaces. Tokens that may not are in presence.test.ts.
  const space = { owner: 'alice', repository: 'acme/payments-api', ref: 'main', tokenReadsCodespaces: true };
  alice = await world.github.admin.createCodespace(space);
});

const how = { fetch, timeoutMs: 5000, clock: Date.now, [labOnlyPlainHttpIssuers]: true } as const;
const trust = { codespaces: { organization: 'acme' }, issuers: [], audiences: [] };
const proofOf = (space: { name: string; token: string }) =>
  ({ type: 'github-codespace', token: space.token, codespaceName: space.name }) as const;
const present = async (space: { name: string; token: string }, options: WorldOptions | Attestor = {}) =>
  await presentCodespace(typeof options === 'function' ? options : world.attest(options), space);

describe('a running Codespace of its developer', () => {
  test('is attested by ids, with the teams that the access file mentions', async () => {
    const { attestation, replay } = await present(alice);
    expect(replay).toBeUndefined();
    expect(attestation).toMatchObject({
      attestor: 'github-codespace',
      issuer: 'github',
      subject: 'github:583231',
      login: 'alice',
      githubUser: { id: 583231, login: 'alice' },
      teams: ['acme/payments'],
      claims: { codespace_id: alice.id, repository_id: 7001, repository_owner_id: 9919001, ref: 'main' },
      workspace: {
        kind: 'codespace',
        key: `codespace:${alice.id}`,
        name: alice.name,
        repository: { id: 7001, fullName: 'acme/payments-api', ownerId: 9919001 },
        ref: 'main',
      },
    });
    expect(attestation.proofHash).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(attestation)).not.toContain(alice.token);
  });

  test('is the same subject after its developer was renamed', async () => {
    const before = await present(alice);
    await world.github.admin.renameUser('alice', 'alice-married');
    const after = await present(alice);
    expect(after.attestation.login).toBe('alice-married');
    expect(after.attestation.subject).toBe(before.attestation.subject);
    expect(after.attestation.teams).toEqual(['acme/payments']);
  });

  test('inherits nothing from the previous owner of its login', async () => {
    const attest = world.attest();
    await present(alice, attest);
    await world.github.admin.renameUser('alice', 'alice-married');
    await world.github.admin.createUser({ login: 'alice', memberOf: 'acme' });
    const other = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
    const { attestation } = await present(other, attest);
    expect(attestation.subject).not.toBe('github:583231');
    expect(attestation.teams).toEqual([]);
  });

  test('may have been created from a prebuild', async () => {
    const owner = { owner: 'alice', repository: 'acme/orders' };
    const space = await world.github.admin.createCodespace({ ...owner, createdFromPrebuild: true });
    expect((await present(space)).attestation.claims).toMatchObject({ created_from_prebuild: true });
  });

  test('is read by the GitHub App if its own token may not', async () => {
    const space = await world.github.admin.createCodespace({
      owner: 'alice',
      repository: 'acme/orders',
    });
    const { attestation } = await present(space);
    expect(attestation.workspace).toMatchObject({ key: `codespace:${space.id}`, repository: { id: 7003 } });
    expect((await refusal(present(space, { withoutApp: true }))).code).toBe('proof_rejected');
    // Refused: a Codespace of another user, one that is stopped, and one of a user outside the organisation.
    const bob = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    expect((await refusal(present({ name: bob.name, token: space.token }))).code).toBe('workspace_unknown');
    await world.github.admin.setCodespaceState(space.name, 'ShuttingDown');
    expect((await refusal(present(space))).code).toBe('workspace_not_available');
    const at = { owner: 'mallory', repository: 'acme/orders' };
    expect((await refusal(present(await world.github.admin.createCodespace(at)))).code).toBe('workspace_unknown');
  });

  test('keeps its key over a restart, which has a new token', async () => {
    await world.github.admin.setCodespaceState(alice.name, 'Shutdown');
    const again = await world.github.admin.startCodespace(alice.name);
    expect((await present(again)).attestation.workspace.key).toBe(`codespace:${alice.id}`);
    expect((await refusal(present(alice))).code).toBe('proof_rejected');
  });
});

describe('is refused', () => {
  test('the token of another person', async () => {
    const bob = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    expect((await refusal(present({ name: alice.name, token: bob.token }))).code).toBe('workspace_unknown');
    expect((await refusal(present({ name: bob.name, token: alice.token }))).code).toBe('workspace_unknown');
  });

  test('a Codespace whose owner is not the user, should GitHub ever answer so', async () => {
    const at = { owner: 'bob', repository: 'acme/orders', tokenReadsCodespaces: true };
    const bob = await world.github.admin.createCodespace(at);
    const mixed = createServer(async (request, response) => {
      const token = request.url === '/user' ? alice.token : bob.token;
      const answer = await fetch(world.github.url + request.url, {
        headers: { authorization: `Bearer ${token}`, 'user-agent': 'test' },
      });
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
    });
    await new Promise<void>((resolve) => mixed.listen(0, '127.0.0.1', resolve));
    const api = { ...how, url: `http://127.0.0.1:${(mixed.address() as AddressInfo).port}` };
    const attempt = attestCodespace(proofOf(bob), PRESENTER, trust, NOTHING, { api, presence, guesses });
    expect((await refusal(attempt)).code).toBe('workspace_not_owned');
    mixed.close();
    mixed.closeAllConnections();
  });

  test.each(CODESPACE_STATES.filter((state) => state !== 'Available'))('a Codespace that is %s', async (state) => {
    await world.github.admin.setCodespaceState(alice.name, state);
    const { code } = await refusal(present(alice));
    // GitHub no longer lists a deleted Codespace.
    expect(code).toBe(state === 'Deleted' ? 'workspace_unknown' : 'workspace_not_available');
  });

  test('a prebuild, whose token belongs to no person', async () => {
    const token = await world.github.admin.createActionsToken();
    expect((await refusal(present({ name: alice.name, token }))).code).toBe('proof_prebuild');
  });

  test('a token that is revoked, made up, or not a token', async () => {
    const codes = async (token: string) => (await refusal(present({ name: alice.name, token }))).code;
    expect(await codes('ghu_000000000000000000000000000000000000')).toBe('proof_rejected');
    expect(await codes('two words')).toBe('proof_malformed');
    expect(await codes('new\r\nline: header')).toBe('proof_malformed');
    expect(await codes('x'.repeat(5000))).toBe('proof_malformed');
    await world.github.admin.revokeToken(alice.token);
    expect(await codes(alice.token)).toBe('proof_rejected');
  });

  test.each(['', '.', '..', '../../user', 'a/b', 'a%2fb', 'a?b', 'a#b', 'a b', 'x'.repeat(200)])(
    'the name %j, without asking GitHub',
    async (name) => {
      await world.github.admin.forgetCalls();
      expect((await refusal(present({ name, token: alice.token }))).code).toBe('proof_malformed');
      expect(await world.github.admin.calls()).toEqual([]);
    },
  );

  test('a Codespace of another organisation, or none', async () => {
    const readable = { tokenReadsCodespaces: true };
    const foreign = { ...readable, owner: 'mallory', repository: 'mallory/payments-api' };
    const mallory = await world.github.admin.createCodespace(foreign);
    expect((await refusal(present(mallory))).code).toBe('workspace_not_trusted');
    expect((await refusal(present(mallory, { withoutApp: true }))).code).toBe('workspace_not_trusted');
    const dotfiles = { ...readable, owner: 'alice', repository: 'alice/dotfiles' };
    const own = await world.github.admin.createCodespace(dotfiles);
    expect((await refusal(present(own))).code).toBe('workspace_not_trusted');
    expect((await refusal(present(alice, { organization: 'other' }))).code).toBe('workspace_not_trusted');
  });

  test('a person who left the organisation, though it still pays for the Codespace and no event has arrived', async () => {
    expect((await present(alice)).attestation.login).toBe('alice');
    await world.github.admin.removeFromOrganization('acme', 'alice');
    expect((await refusal(present(alice))).code).toBe('workspace_not_trusted');
  });

  test('every Codespace if the access file trusts none', async () => {
    const attempt = attestCodespace(proofOf(alice), PRESENTER, { issuers: [], audiences: [] }, NOTHING, {
      api: { ...how, url: world.github.url },
      presence,
      guesses,
    });
    expect((await refusal(attempt)).code).toBe('workspace_not_trusted');
  });

  test('a stranger on a public repository of the organisation at their own cost; a member is not', async () => {
    const at = { repository: 'acme/payments-api', tokenReadsCodespaces: true };
    const mallory = await world.github.admin.createCodespace({ ...at, owner: 'mallory', billableOwner: 'mallory' });
    expect((await refusal(present(mallory))).code).toBe('workspace_not_trusted');
    const carol = await world.github.admin.createCodespace({ ...at, owner: 'carol', billableOwner: 'carol' });
    expect((await present(carol)).attestation.subject).toBe('github:583233');
    expect((await refusal(present(carol, { withoutApp: true }))).code).toBe('workspace_not_trusted');
    await world.github.admin.removeFromOrganization('acme', 'carol');
    expect((await refusal(present(carol))).code).toBe('workspace_not_trusted');
  });
});

describe('while GitHub gives no answer, nothing is granted', () => {
  test.each([
    { mode: 'down' },
    { mode: 'slow', delayMs: 2000 },
    { mode: 'stalled' },
    { mode: 'endless' },
    { mode: 'html' },
    { mode: 'garbage' },
    { mode: 'error', status: 500 },
    { mode: 'error', status: 503 },
  ] as const)('$mode $status', async (fault) => {
    await world.github.admin.setFault(fault);
    const refused = await refusal(present(alice, { timeoutMs: 300 }));
    expect(refused).toMatchObject({ code: 'issuer_unavailable', status: 503 });
    expect(refused.text).not.toContain(alice.token);
  });

  test('rate-limited, with the time to retry', async () => {
    const retryAfter = async () => {
      const error = await present(alice).then(
        () => undefined,
        (thrown) => thrown,
      );
      expect(error.code).toBe('issuer_rate_limited');
      return error.retryAfter;
    };
    await world.github.admin.setFault({ mode: 'secondary-limited', retryAfterSeconds: 7 });
    expect(await retryAfter()).toBe(7);
    await world.github.admin.setFault({ mode: 'rate-limited', resetSeconds: 120 });
    expect(await retryAfter()).toBeGreaterThan(100);
    expect(await retryAfter()).toBeLessThanOrEqual(121);
  });

  test('the broker follows no redirect, so the token goes nowhere', async () => {
    const seen: unknown[] = [];
    const attacker = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end('{}');
    });
    await new Promise<void>((resolve) => attacker.listen(0, '127.0.0.1', resolve));
    const { port } = attacker.address() as AddressInfo;
    await world.github.admin.setFault({ mode: 'redirect', location: `http://127.0.0.1:${port}/user` });
    expect((await refusal(present(alice))).code).toBe('issuer_unavailable');
    expect(seen).toEqual([]);
    attacker.close();
  });

  test('and it recovers by itself when GitHub returns', async () => {
    const attest = world.attest();
    await world.github.admin.setFault({ mode: 'down' });
    expect((await refusal(present(alice, attest))).code).toBe('issuer_unavailable');
    await world.github.admin.setFault({ mode: 'none' });
    expect((await present(alice, attest)).attestation.teams).toEqual(['acme/payments']);
  });
});
