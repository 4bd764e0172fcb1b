/** Cost of watching 5,000 Codespaces and as many members in GitHub's budget, counted at the stand-in. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { ACME, type Codespace, type State, seed } from '@meshpass/lab/github/state';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createGithubApp } from '../../src/attest/github/app.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import type { SessionContext } from '../../src/core/session/context.ts';
import { createLiveIndex } from '../../src/core/session/live.ts';
import { createRateLimiter } from '../../src/core/watch/rate-limiter.ts';
import { startGithubWatch } from '../../src/core/watch/watch.ts';
import { labOnlyPlainHttpIssuers } from '../../src/issuers/issuer-http.ts';

const MANY = 5_000;
let dir: string;
let github: RunningGithub;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'meshpass-github-'));
  const state = seed();
  for (let n = 0; n < MANY; n++) populate(state, n);
  writeFileSync(join(dir, 'github.json'), JSON.stringify(state));
  github = await startGithub({ listen: '127.0.0.1:0', state: dir });
});
afterEach(async () => {
  await github?.close();
  rmSync(dir, { recursive: true, force: true });
});

function populate(state: State, n: number): void {
  const id = 1_000_000 + n;
  state.accounts.push({ id, login: `dev-${n}`, type: 'User' });
  state.members[ACME]![id] = 'member';
  state.teams[0]!.members[id] = { role: 'member', state: 'active' };
  state.codespaces.push(codespaceOf(id, n));
}

function codespaceOf(ownerId: number, n: number): Codespace {
  const at = '2026-01-01T00:00:00Z';
  const name = `dev-${n}-space`;
  const ids = { id: 2_000_000 + n, ownerId, billableOwnerId: ACME, repositoryId: 7001 };
  return {
    ...ids,
    name,
    environmentId: name,
    ref: 'main',
    prebuild: false,
    createdAt: at,
    lastUsedAt: at,
    state: 'Available',
    host: 'workspace',
  };
}

/** A live session for each developer. `failures` collects what the watcher reports. */
function sessions(clock: () => number): SessionContext & { readonly failures: unknown[] } {
  const live = createLiveIndex();
  const failures: unknown[] = [];
  for (let n = 0; n < MANY; n++) {
    const user = { id: 1_000_000 + n, login: `dev-${n}` };
    const claims = { codespace_id: 2_000_000 + n, codespace_name: `dev-${n}-space`, billable_owner: 'acme' };
    live.add({
      session: {
        id: `session-${n}`,
        tokenHash: `hash-${n}`,
        jkt: '',
        openedAt: 0,
        principals: [],
        attestation: {
          attestor: 'github-codespace',
          issuer: 'github',
          subject: `github:${user.id}`,
          login: user.login,
          githubUser: user,
          teams: ['acme/payments'],
          claims,
          proofHash: '',
          workspace: { kind: 'codespace', key: `codespace:${claims.codespace_id}`, name: claims.codespace_name },
        },
      },
      leaseUntil: 0,
      awaitingHeartbeat: false,
      svids: new Map(),
      abort: new AbortController(),
    });
  }
  const trust = { codespaces: { organization: 'acme' }, issuers: [], audiences: [] };
  const mesh = { inForce: () => true, access: () => ({ file: '', trust, grants: [] }) };
  const onFailure = (cause: unknown) => failures.push(cause);
  const config = { githubSweepSeconds: 10, githubMemberSeconds: 60 };
  return { live, mesh, clock, config, onFailure, failures } as unknown as SessionContext & { failures: unknown[] };
}

/**
 * Watches until so much time has passed on a clock that moves only while the watcher waits, and by 150 ms a call.
 * @param changed whether a page is as if changed since it was last read
 */
async function watchFor(seconds: number, changed: () => boolean) {
  const began = Date.now();
  let now = began;
  let [asked, counted] = [0, 0];
  const clock = () => now;
  const rateLimiter = createRateLimiter(clock);
  const api = {
    url: github.url,
    fetch,
    timeoutMs: 10_000,
    clock: Date.now,
    [labOnlyPlainHttpIssuers]: true,
  } as const;
  const app = createGithubApp({
    ...api,
    appId: '4242',
    privateKey: github.appPrivateKey,
    losses: createLosses(clock),
    onAnswer: (answer) => {
      asked++;
      if (answer.status !== 304) counted++;
      now += 150;
      rateLimiter.observe(answer);
    },
  });
  const ask = app.request;
  const context = sessions(clock);
  const ages: number[] = [];
  await new Promise<void>((resolve) => {
    const watch = startGithubWatch({
      read: (organization, path, { headers = {}, ...question } = {}) =>
        ask(organization, path, { ...question, ...(changed() ? {} : { headers }) }),
      rateLimiter,
      sessions: context,
      onFailure: context.onFailure,
      wait: async (ms) => {
        now += ms;
        const age = watch.gauges.githubSweepAge();
        if (age !== undefined) ages.push(age);
        if (now - began < seconds * 1000) return;
        watch.stop();
        resolve();
      },
    });
  });
  expect(context.failures).toEqual([]);
  expect(context.live.size()).toBe(MANY);
  return { asked, counted, oldest: Math.max(...ages) };
}

it('costs less than 5,000 calls an hour if every page has changed every time', async () => {
  const { counted, oldest } = await watchFor(3600, () => true);
  console.log(`all changed: ${counted} calls in an hour; the oldest look was ${oldest.toFixed(0)} s old`);
  // The shares of an hour, what may be saved up for a burst, and the round under way at the end.
  expect(counted).toBeGreaterThan(2_000);
  expect(counted).toBeLessThan(5_000 * 0.75);
  expect(oldest).toBeLessThan(120);
}, 180_000);

it('costs next to nothing while nothing changes, and then reads as often as it may', async () => {
  const { asked, counted, oldest } = await watchFor(600, () => false);
  console.log(
    `none changed: ${counted} of ${asked} calls counted in 600 s; the oldest look was ${oldest.toFixed(0)} s old`,
  );
  // Only the first round counts, with its pages of Codespaces, members and team.
  expect(counted).toBeLessThan(160);
  expect(asked).toBeGreaterThan(counted * 2);
}, 180_000);
