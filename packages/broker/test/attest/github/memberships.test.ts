/** Roles and teams of a developer, which GitHub reports in an exchange. */

import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attestor } from '../../../src/attest/attest.ts';
import { createWorld, presentCodespace, refusal, type World, type WorldOptions } from '../world.ts';

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

const present = async (space: { name: string; token: string }, options: WorldOptions | Attestor = {}) =>
  await presentCodespace(typeof options === 'function' ? options : world.attest(options), space);

describe('roles in an organization', () => {
  const who = ['{role: acme/admin}', '{role: acme/member}', '{role: other/admin}'];
  const rolesOf = async (space: StartedCodespace, options: WorldOptions = {}) =>
    (await present(space, { who, ...options })).attestation.organizationRoles;

  test('are those that GitHub confirms, of an admin both', async () => {
    const bob = await world.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    expect(await rolesOf(alice)).toEqual(['acme/member']);
    expect(await rolesOf(bob)).toEqual(['acme/admin', 'acme/member']);
  });

  test('are none for people who are no members, and none without a GitHub App', async () => {
    expect(await rolesOf(alice, { withoutApp: true })).toBeUndefined();
    await world.github.admin.removeFromOrganization('acme', 'alice');
    expect((await refusal(rolesOf(alice))).code).toBe('workspace_not_trusted');
  });

  test('are not requested if the access file mentions none; the membership is requested once', async () => {
    await world.github.admin.forgetCalls();
    expect((await present(alice)).attestation).not.toHaveProperty('organizationRoles');
    expect((await world.github.admin.calls()).filter((call) => call.includes('/orgs/acme/memberships'))).toEqual([
      'GET /orgs/acme/memberships/alice',
    ]);
  });

  test('that cannot be asked for stop everything', async () => {
    await world.github.admin.setFault({ mode: 'error', status: 502, path: '/orgs/acme/memberships' });
    expect(await refusal(present(alice, { who }))).toMatchObject({ code: 'issuer_unavailable', status: 503 });
  });
});

describe('teams', () => {
  test('are not confirmed without a GitHub App, and not while an invitation is open', async () => {
    expect((await present(alice, { withoutApp: true })).attestation.teams).toEqual([]);
    await world.github.admin.addToTeam('acme/sre', 'alice', 'pending');
    expect((await present(alice)).attestation.teams).toEqual(['acme/payments']);
    await world.github.admin.addToTeam('acme/sre', 'alice');
    expect((await present(alice)).attestation.teams).toEqual(['acme/payments', 'acme/sre']);
  });

  test('are requested again after a minute', async () => {
    let now = Date.now();
    const attest = world.attest({ clock: () => now, presence: 'off' });
    await present(alice, attest);
    await world.github.admin.removeFromTeam('acme/payments', 'alice');
    await world.github.admin.forgetCalls();
    expect((await present(alice, attest)).attestation.teams).toEqual(['acme/payments']);
    const about = ['GET /user', `GET /user/codespaces/${alice.name}`, 'GET /repos/acme/payments-api'];
    expect(await world.github.admin.calls()).toEqual(about);
    now += 61_000;
    expect((await present(alice, attest)).attestation.teams).toEqual([]);
  });

  test('of a hundred arrivals need one installation token', async () => {
    const attest = world.attest();
    await Promise.all(Array.from({ length: 20 }, () => present(alice, attest)));
    const calls = await world.github.admin.calls();
    expect(calls.filter((call) => call.startsWith('POST'))).toHaveLength(1);
    expect(calls.filter((call) => call.endsWith('/teams/payments/memberships/alice'))).toHaveLength(1);
  });

  test('that cannot be asked for stop everything', async () => {
    await world.github.admin.setFault({ mode: 'error', status: 502, path: '/orgs/acme/teams' });
    expect(await refusal(present(alice))).toMatchObject({ code: 'issuer_unavailable', status: 503 });
    await world.github.admin.setFault({ mode: 'none' });
    await world.github.admin.suspendInstallation('acme', true);
    expect((await refusal(present(alice))).code).toBe('issuer_unavailable');
  });
});
