import { describe, expect, test } from 'vitest';
import { discoverProofSource, type HostEnvironment } from '../src/session/discover.ts';

function surroundings(env: Record<string, string>, files: Record<string, string> = {}): HostEnvironment {
  return { env, readText: (path) => files[path], sharedDirectory: '/shared' };
}
const base64 = (text: string) => Buffer.from(text).toString('base64');
const options = { audience: 'meshpass' };

describe('a Codespace', () => {
  test('is discovered from the environment', async () => {
    const source = discoverProofSource(
      options,
      surroundings({ CODESPACES: 'true', GITHUB_TOKEN: 'ghu_a', CODESPACE_NAME: 'fluffy-1' }),
    );
    expect(source.kind).toBe('codespace');
    expect(await source.proof()).toEqual({ type: 'github-codespace', token: 'ghu_a', codespaceName: 'fluffy-1' });
  });

  test('is discovered from the shared files if a process started without the environment', async () => {
    const source = discoverProofSource(
      options,
      surroundings(
        {},
        {
          '/shared/environment-variables.json':
            '{"CODESPACES":"true","CODESPACE_NAME":"fluffy-1","GITHUB_TOKEN":"old"}',
          '/shared/.env': 'export FOO="bar"\n# note\nGITHUB_USER=octocat\n',
          '/shared/.env-secrets': `GITHUB_TOKEN=${base64('ghu_b')}\n`,
        },
      ),
    );
    expect(await source.proof()).toEqual({ type: 'github-codespace', token: 'ghu_b', codespaceName: 'fluffy-1' });
  });

  test('prefers the newer token from the files to that of the environment', async () => {
    const source = discoverProofSource(
      options,
      surroundings(
        { CODESPACES: 'true', GITHUB_TOKEN: 'ghu_old', CODESPACE_NAME: 'fluffy-1' },
        { '/shared/.env-secrets': `GITHUB_TOKEN=${base64('ghu_new')}\n` },
      ),
    );
    expect(await source.proof()).toMatchObject({ token: 'ghu_new' });
  });

  test('never enrols as a prebuild', () => {
    const env = { CODESPACES: 'true', GITHUB_TOKEN: 'a', CODESPACE_NAME: 'b' };
    const request = { ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'y' };
    expect(() => discoverProofSource(options, surroundings({ ...env, ...request }))).toThrow(
      expect.objectContaining({ code: 'agent_prebuild' }),
    );
    expect(() =>
      discoverProofSource(
        options,
        surroundings(request, { '/shared/.env': 'CODESPACES=true\nCODESPACE_NAME=b\nGITHUB_TOKEN=a\n' }),
      ),
    ).toThrow(expect.objectContaining({ code: 'agent_prebuild' }));
  });

  test('reports a missing token', () => {
    expect(() => discoverProofSource(options, surroundings({ CODESPACES: 'true', CODESPACE_NAME: 'b' }))).toThrow(
      expect.objectContaining({ code: 'agent_no_identity', message: expect.stringContaining('GITHUB_TOKEN') }),
    );
  });
});

test('discovers a GitHub Actions job', () => {
  const env = {
    ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x',
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'y',
    GITHUB_ACTIONS: 'true',
  };
  expect(discoverProofSource(options, surroundings(env)).kind).toBe('actions');
});

test('tells a job which permission it lacks', () => {
  expect(() => discoverProofSource(options, surroundings({ GITHUB_ACTIONS: 'true' }))).toThrow(/id-token: write/);
});

test('prefers a proof file to everything else, and reads it at every enrolment', async () => {
  const files: Record<string, string> = { '/proof': 'a.b.c\n' };
  const source = discoverProofSource({ ...options, proofFile: '/proof' }, surroundings({ CODESPACES: 'true' }, files));
  expect(await source.proof()).toEqual({ type: 'oidc', token: 'a.b.c' });
  files['/proof'] = 'd.e.f';
  expect(await source.proof()).toEqual({ type: 'oidc', token: 'd.e.f' });
  files['/proof'] = '';
  await expect(source.proof()).rejects.toMatchObject({ code: 'agent_no_identity' });
});

test('reports that there is no proof at all', () => {
  expect(() => discoverProofSource(options, surroundings({}))).toThrow(
    expect.objectContaining({ code: 'agent_no_identity' }),
  );
});
