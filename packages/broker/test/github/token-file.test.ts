/** The sweep with a token in a file instead of an App. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createTokenFileReader } from '../../src/attest/github/api.ts';
import { createGithubApp } from '../../src/attest/github/app.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import { labOnlyPlainHttpIssuers } from '../../src/issuers/issuer-http.ts';
import { createWatch } from '../harness/github-watch.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshpass-tokens-'));
const tokenFile = join(dir, 'github');
const watch = createWatch();
const { opened, settle, ended, lives, trusting } = watch;

beforeAll(watch.begin);
afterAll(watch.end);
afterAll(() => rmSync(dir, { recursive: true }));

describe('with a token in a file', () => {
  beforeAll(async () => {
    watch.onTheWay = async (_, answer) => answer;
    await watch.github.admin.reset();
    watch.harness = await watch.start({ githubSweepSeconds: 1, githubMemberSeconds: 1 }, (asking) =>
      createTokenFileReader(tokenFile, asking),
    );
    trusting();
  });
  afterAll(() => watch.harness?.stop());

  it('the sweep continues when the token is replaced, and fails loudly and harmlessly while it is none', async () => {
    const { space, who } = await opened();
    settle();
    await vi.waitFor(() => expect(watch.harness.log.join('')).toContain('cannot read the token file'), {
      timeout: 60_000,
    });
    writeFileSync(tokenFile, 'ghp_nonsense', { mode: 0o600 });
    await vi.waitFor(() => expect(watch.harness.log.join('')).toContain('the token is not allowed to read this'), {
      timeout: 60_000,
    });
    await watch.github.admin.setCodespaceState(space.name, 'Shutdown');
    await lives(who);
    let issued = '';
    const app = createGithubApp({
      url: watch.github.url,
      timeoutMs: 1000,
      clock: Date.now,
      [labOnlyPlainHttpIssuers]: true as const,
      appId: '4242',
      privateKey: watch.github.appPrivateKey,
      losses: createLosses(Date.now),
      fetch: async (input, init) => {
        issued = new Headers(init?.headers).get('authorization') ?? '';
        return await fetch(input, init);
      },
    });
    await app.request('acme', '/orgs/acme/members');
    writeFileSync(tokenFile, `${issued.replace('Bearer ', '')}\n`, { mode: 0o600 });
    await ended(who, 'is not running');
    expect(watch.harness.log.join('')).not.toContain('ghp_nonsense');
    expect(watch.harness.log.join('')).not.toContain(issued.replace('Bearer ', ''));
  });
});
