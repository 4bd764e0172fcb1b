import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { kubeconfigAccess, podAccess } from '../../src/mesh/kubernetes/access.ts';
import { path } from '../../src/mesh/kubernetes/http.ts';
import { objectPath } from '../../src/mesh/kubernetes/resources.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshpass-kubeconfig-'));
});
afterAll(() => rm(dir, { recursive: true }));

async function write(cluster: object, user: object): Promise<string> {
  const config = {
    'current-context': 'x',
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://kubernetes.test:6443', ...cluster } }],
    users: [{ name: 'u', user }],
  };
  await writeFile(join(dir, 'config'), stringify(config));
  return join(dir, 'config');
}

describe('a kubeconfig', () => {
  it('has server, CA and token; paths of files are relative to it', async () => {
    await writeFile(join(dir, 'ca.crt'), 'CA');
    await writeFile(join(dir, 'token'), 'abc\n');
    const access = await kubeconfigAccess(await write({ 'certificate-authority': 'ca.crt' }, { tokenFile: 'token' }));
    expect(access.server).toBe('https://kubernetes.test:6443');
    expect(access.tls.ca?.toString()).toBe('CA');
    expect(await access.authorization()).toBe('Bearer abc');
  });

  it('has a client certificate, and then sends no header', async () => {
    const data = (text: string) => Buffer.from(text).toString('base64');
    const user = { 'client-certificate-data': data('CERT'), 'client-key-data': data('KEY') };
    const access = await kubeconfigAccess(await write({}, user));
    expect([access.tls.cert?.toString(), access.tls.key?.toString()]).toEqual(['CERT', 'KEY']);
    expect(await access.authorization()).toBeUndefined();
  });

  describe('with a credential plugin', () => {
    const apiVersion = 'client.authentication.k8s.io/v1';
    const withPlugin = async (script: string, exec: object = {}) => {
      await writeFile(join(dir, 'plugin'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const user = { exec: { apiVersion, command: './plugin', interactiveMode: 'Never', ...exec } };
      return await kubeconfigAccess(await write({}, user));
    };
    const credential = (status: object) => JSON.stringify({ apiVersion, kind: 'ExecCredential', status });
    const RUNS = 'echo run >> "$(dirname "$0")/runs"';
    const runs = () => readFile(join(dir, 'runs'), 'utf8').then((text) => text.split('\n').length - 1);
    beforeEach(() => rm(join(dir, 'runs'), { force: true }));

    it('presents its token, with its arguments and variables', async () => {
      const { authorization } = await withPlugin(`echo "$1" | sed "s/TOKEN/$NAME/"`, {
        args: [credential({ token: 'TOKEN' })],
        env: [{ name: 'NAME', value: 'from-plugin' }],
      });
      expect(await authorization()).toBe('Bearer from-plugin');
    });

    it('describes the cluster to it, if the kubeconfig says so', async () => {
      const script = `echo "$KUBERNETES_EXEC_INFO" > "$(dirname "$0")/info"; echo '${credential({ token: 'a' })}'`;
      const { authorization } = await withPlugin(script, { provideClusterInfo: true });
      await authorization();
      expect(JSON.parse(await readFile(join(dir, 'info'), 'utf8'))).toEqual({
        apiVersion,
        kind: 'ExecCredential',
        spec: { interactive: false, cluster: { server: 'https://kubernetes.test:6443' } },
      });
    });

    it.each([
      ['once, if its token does not expire', {}, 1],
      ['once until its token expires', { expirationTimestamp: '2999-01-01T00:00:00Z' }, 1],
      ['again after its token has expired', { expirationTimestamp: '2000-01-01T00:00:00Z' }, 2],
    ])('runs it %s', async (_, more, times) => {
      const { authorization } = await withPlugin(`${RUNS}; echo '${credential({ token: 'a', ...more })}'`);
      await Promise.all([authorization(), authorization()]);
      expect(await runs()).toBe(1);
      await authorization();
      expect(await runs()).toBe(times);
    });

    it('reports what it writes to standard error if it fails, and runs it again', async () => {
      const { authorization } = await withPlugin(`${RUNS}; echo 'not signed in' >&2; exit 1`);
      for (const expected of [1, 2]) {
        await expect(authorization()).rejects.toThrow(/plugin .*failed: not signed in/);
        expect(await runs()).toBe(expected);
      }
    });

    it.each(['{"secret": ', credential({ clientCertificateData: 'secret' })])(
      'refuses an output without a token and does not repeat it: %s',
      async (output) => {
        const { authorization } = await withPlugin(`echo '${output}'`);
        const error = await authorization().catch((thrown) => thrown);
        expect(error.message).toContain('did not print an ExecCredential with a token');
        expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain('secret');
      },
    );
  });

  it.each([
    ['plain HTTP', { server: 'http://kubernetes.test:6443' }],
    ['unverified TLS', { 'insecure-skip-tls-verify': true }],
  ])('with %s is refused', async (_, cluster) => {
    const file = await write(cluster, { token: 'abc' });
    await expect(kubeconfigAccess(file)).rejects.toMatchObject({ code: 'config_invalid' });
  });

  it('with an auth-provider is refused, with its replacement', async () => {
    const file = await write({}, { 'auth-provider': { name: 'oidc' } });
    await expect(kubeconfigAccess(file)).rejects.toThrow('credential plugin (exec)');
  });

  it('that is not there, or not YAML of that kind, is refused', async () => {
    await expect(kubeconfigAccess(join(dir, 'none'))).rejects.toMatchObject({ code: 'config_invalid' });
    await writeFile(join(dir, 'other'), 'hello');
    await expect(kubeconfigAccess(join(dir, 'other'))).rejects.toMatchObject({ code: 'config_invalid' });
  });
});

it('outside of a Pod there is no Pod access', async () => {
  await expect(podAccess({})).rejects.toMatchObject({ code: 'config_invalid' });
});

describe('paths', () => {
  it('encode their parameters', () => {
    expect(path`/api/v1/namespaces/${'../secrets?x=1'}/pods`).toBe('/api/v1/namespaces/..%2Fsecrets%3Fx%3D1/pods');
    expect(objectPath({ kind: 'ServiceAccount', metadata: { namespace: 'a', name: 'b' } })).toBe(
      '/api/v1/namespaces/a/serviceaccounts/b',
    );
  });

  it('are not made for kinds that are not known, nor without their namespace', () => {
    expect(() => objectPath({ kind: 'Secret', metadata: { namespace: 'a', name: 'b' } })).toThrow('kind Secret');
    expect(() => objectPath({ kind: 'Gateway', metadata: { name: 'b' } })).toThrow('without a namespace');
  });
});
