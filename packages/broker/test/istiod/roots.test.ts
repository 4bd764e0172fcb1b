import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { splitRoots, watchRootsFile } from '../../src/mesh/istiod/roots.ts';
import type { KubernetesHttp } from '../../src/mesh/kubernetes/http.ts';
import type { KubernetesWatch } from '../../src/mesh/kubernetes/watch.ts';
import { viewCluster } from '../../src/mesh/reconcile/cluster-view.ts';

const [A, B] = rootCertificates as [string, string];
const pem = (...certificates: string[]) => splitRoots(certificates.join('\n'));
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const directory = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const eventually = (look: () => void) => vi.waitFor(look, { timeout: 60_000, interval: 20 });

describe('a file with the roots of the mesh', () => {
  let file: KubernetesWatch<readonly string[]> | undefined;
  afterEach(() => file?.close());

  it('is followed, and an unusable one changes nothing', async () => {
    const path = join(directory, 'roots.pem');
    writeFileSync(path, A);
    let changes = 0;
    const onChange = () => {
      changes++;
    };
    file = watchRootsFile(path, silent, onChange, 20);
    expect(file.all()?.flat()).toEqual(pem(A));
    writeFileSync(path, `${A}\n${B}\n`);
    await eventually(() => expect(file?.all()?.flat()).toEqual(pem(A, B)));
    const warned = vi.fn();
    file.close();
    file = watchRootsFile(path, { ...silent, warn: warned }, onChange, 20);
    const unusable = {
      'no certificate': 'does not contain a certificate',
      [A.replace(/[A-Za-z0-9+/]{20}/, 'AAAA')]: 'Cannot read a mesh root certificate',
    };
    for (const [text, said] of Object.entries(unusable)) {
      writeFileSync(path, text);
      await eventually(() => expect(warned.mock.calls.at(-1)?.[0].err.message).toContain(said));
      expect(file.all()?.flat()).toEqual(pem(A, B));
    }
    rmSync(path);
    await eventually(() => expect(warned.mock.calls.at(-1)?.[0].err.message).toContain('Cannot read'));
    expect(file.all()?.flat()).toEqual(pem(A, B));
    expect(changes).toBe(1);
  });

  it('must be one at the start', async () => {
    expect(() => watchRootsFile(join(directory, 'none.pem'), silent, () => {})).toThrow('Cannot read');
  });
});

describe('the ConfigMap with the roots of the mesh', () => {
  it('is followed, and its deletion or emptiness cuts off no session', async () => {
    let tell: (event: object) => void = () => {};
    const version = { resourceVersion: '1' };
    const configMap = (text: string | undefined) => ({
      metadata: { name: 'istio-ca-root-cert', namespace: 'istio-system', ...version },
      ...(text !== undefined && { data: { 'root-cert.pem': text } }),
    });
    const http = {
      call: async ({ path }: { path: string }) => ({
        body: { metadata: version, items: path.includes('configmaps') ? [configMap(A)] : [] },
      }),
      stream: ({ path, signal }: { path: string; signal?: AbortSignal }, line: (text: string) => void) =>
        new Promise<void>((resolve) => {
          if (path.includes('configmaps')) tell = (event) => line(JSON.stringify(event));
          signal?.addEventListener('abort', () => resolve());
        }),
    } as unknown as KubernetesHttp;
    const view = viewCluster({ http, rootsNamespace: 'istio-system', log: silent });
    try {
      await eventually(() => expect(view.roots()).toEqual(pem(A)));
      tell({ type: 'MODIFIED', object: configMap(`${A}\n${B}`) });
      expect(view.roots()).toEqual(pem(A, B));
      tell({ type: 'MODIFIED', object: configMap(undefined) });
      expect(view.roots()).toEqual(pem(A, B));
      tell({ type: 'DELETED', object: configMap(B) });
      expect(view.roots()).toEqual(pem(A, B));
      expect(view.unready()).not.toContain('the mesh roots are not known yet');
      tell({ type: 'ADDED', object: configMap(B) });
      expect(view.roots()).toEqual(pem(B));
    } finally {
      view.close();
    }
  });
});
