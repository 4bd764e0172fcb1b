import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { kubeconfigAccess, podAccess } from '../../src/kubernetes/access.ts';
import { path } from '../../src/kubernetes/http.ts';
import { objectPath } from '../../src/kubernetes/resources.ts';

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
  it('gives server, CA and token; files stand beside it', async () => {
    await writeFile(join(dir, 'ca.crt'), 'CA');
    await writeFile(join(dir, 'token'), 'abc\n');
    const access = await kubeconfigAccess(await write({ 'certificate-authority': 'ca.crt' }, { tokenFile: 'token' }));
    expect(access.server).toBe('https://kubernetes.test:6443');
    expect(access.tls.ca?.toString()).toBe('CA');
    expect(await access.authorization()).toBe('Bearer abc');
  });

  it('gives a client certificate, and then no header', async () => {
    const data = (text: string) => Buffer.from(text).toString('base64');
    const user = { 'client-certificate-data': data('CERT'), 'client-key-data': data('KEY') };
    const access = await kubeconfigAccess(await write({}, user));
    expect([access.tls.cert?.toString(), access.tls.key?.toString()]).toEqual(['CERT', 'KEY']);
    expect(await access.authorization()).toBeUndefined();
  });

  it('asks a credential plugin where it names one', async () => {
    const said = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: 'from-plugin' },
    };
    const exec = {
      apiVersion: said.apiVersion,
      command: 'echo',
      args: [JSON.stringify(said)],
      interactiveMode: 'Never',
    };
    const access = await kubeconfigAccess(await write({}, { exec }));
    expect(await access.authorization()).toBe('Bearer from-plugin');
  });

  it.each([
    ['plain HTTP', { server: 'http://kubernetes.test:6443' }],
    ['unverified TLS', { 'insecure-skip-tls-verify': true }],
  ])('with %s is refused', async (_, cluster) => {
    const file = await write(cluster, { token: 'abc' });
    await expect(kubeconfigAccess(file)).rejects.toMatchObject({ code: 'config_invalid' });
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
  it('encode what is put into them', () => {
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
