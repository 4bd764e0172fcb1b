/** Tokens that are not those of the Codespace that they are presented with. */

import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { USER_PREFIXES } from '@meshpass/lab/github/state';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createWorld, presentCodespace, refusal, type World } from '../world.ts';

let world: World;
let alice: StartedCodespace;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.github.admin.reset();
  alice = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
});

describe("a token that is not a Codespace's is refused, and GitHub is not asked", () => {
  test.each(USER_PREFIXES.filter((prefix) => prefix !== 'ghu_'))('%s', async (prefix) => {
    const token = await world.github.admin.createUserTokenOf('alice', prefix);
    await world.github.admin.forgetCalls();
    expect(await refusal(presentCodespace(world.attest(), { name: alice.name, token }))).toMatchObject({
      code: 'proof_token_kind',
      status: 400,
    });
    expect(await world.github.admin.calls()).toEqual([]);
  });

  test.each([
    'ghs_000000000000000000000000000000000000',
    'gh_x',
    'v1.0123456789abcdef',
    '0123456789abcdef0123',
    'GHU_a',
  ])('%s', async (token) => {
    const code = token.startsWith('ghs_') ? 'proof_prebuild' : 'proof_token_kind';
    expect((await refusal(presentCodespace(world.attest(), { name: alice.name, token }))).code).toBe(code);
    expect(await world.github.admin.calls()).toEqual([]);
  });
});

describe('a token that does not reach the repository of the Codespace is refused', () => {
  test('of another GitHub App that the developer authorised', async () => {
    const token = await world.github.admin.createUserTokenOf('alice', 'ghu_');
    expect((await refusal(presentCodespace(world.attest(), { name: alice.name, token }))).code).toBe(
      'workspace_repository_unreachable',
    );
    const reaching = await world.github.admin.createUserTokenOf('alice', 'ghu_', false);
    // It may read the Codespace, so without "always" the broker cannot distinguish it from the Codespace's own.
    await presentCodespace(world.attest(), { name: alice.name, token: reaching });
  });

  test('of another Codespace of the same developer', async () => {
    const { token } = await world.github.admin.createCodespace({ owner: 'alice', repository: 'acme/orders' });
    expect((await refusal(presentCodespace(world.attest(), { name: alice.name, token }))).code).toBe(
      'workspace_repository_unreachable',
    );
  });
});
