import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCsr } from '../../src/mesh/istiod/check-csr.ts';
import { splitRoots } from '../../src/mesh/istiod/roots.ts';
import type { ConnectedMesh } from '../../src/mesh/reconcile/connect-mesh.ts';
import { freshCsr, type OnLab, onLab, until, untilReady } from '../harness/on-lab.ts';

const ACCESS = `
trust:
  codespaces: {organization: acme}
grants:
  signing:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;
const namespace = 'meshpass-signing';

let on: OnLab;
let mesh: ConnectedMesh;

beforeAll(async () => {
  on = await onLab(ACCESS);
  mesh = await on.connect();
  await untilReady(mesh);
});
afterAll(() => on?.end());

const sign = async (
  serviceAccount: string,
  csr = freshCsr(),
  through = mesh,
  queue: 'arrival' | 'renewal' = 'arrival',
) => through.authority.sign({ namespace, serviceAccount, csr: await csr, ttl: 600, queue });

async function failure(work: Promise<unknown>): Promise<MeshpassError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(MeshpassError);
  return thrown as MeshpassError;
}

describe('a certificate of istiod', () => {
  it('is for the ServiceAccount, for the key of the request, and for as long as was asked', async () => {
    const now = Math.floor(Date.now() / 1000);
    const signed = await sign('ann-1');
    expect(signed.spiffeId).toBe('spiffe://cluster.local/ns/meshpass-signing/sa/ann-1');
    expect(signed.notAfter).toBeGreaterThan(now + 590);
    expect(signed.notAfter).toBeLessThan(now + 610);
    const leaf = new X509Certificate(signed.chain);
    expect(leaf.subjectAltName).toBe('URI:spiffe://cluster.local/ns/meshpass-signing/sa/ann-1');
  });

  it('comes without the roots, which are those of the mesh', async () => {
    const { chain } = await sign('ann-1', freshCsr(), mesh, 'renewal');
    const roots = mesh.state.roots().map((pem) => new X509Certificate(pem));
    // Between leaf and root there may be an intermediate of istiod's, as after a change of its CA.
    const certificates = splitRoots(chain).map((pem) => new X509Certificate(pem));
    expect(certificates.filter(({ subject, issuer }) => subject === issuer)).toEqual([]);
    expect(roots.some((root) => certificates.at(-1)!.verify(root.publicKey))).toBe(true);
    const ofTheLab = new X509Certificate(on.lab.rootCaPem()).fingerprint256;
    expect(roots.map(({ fingerprint256 }) => fingerprint256)).toContain(ofTheLab);
  });

  it('ignores names in the request', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const victim = 'spiffe://cluster.local/ns/shop/sa/orders';
    const request = await Pkcs10CertificateRequestGenerator.create({
      name: 'CN=orders.shop',
      keys,
      signingAlgorithm: algorithm,
      extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: victim }])],
    });
    const signed = await sign('ann-2', checkCsr(request.toString('pem')));
    expect(new X509Certificate(signed.chain).subjectAltName).toBe(
      'URI:spiffe://cluster.local/ns/meshpass-signing/sa/ann-2',
    );
    expect(signed.chain).not.toContain('orders');
  });

  it('is renewed after its ServiceAccount was deleted', async () => {
    await sign('ann-3');
    await on.lab.kubernetes.call('DELETE', `/api/v1/namespaces/${namespace}/serviceaccounts/ann-3`);
    expect((await sign('ann-3', freshCsr(), mesh, 'renewal')).spiffeId).toMatch(/ann-3$/);
  });

  it('is not issued to a session that has ended', async () => {
    await sign('ann-4');
    const spiffeId = 'spiffe://cluster.local/ns/meshpass-signing/sa/ann-4';
    await mesh.revoker.apply([{ namespace, serviceAccount: 'ann-4', spiffeId, until: Date.now() / 1000 + 60 }]);
    expect((await failure(sign('ann-4', freshCsr(), mesh, 'renewal'))).code).toBe('session_closed');
    await mesh.revoker.apply([]);
  });

  it('is refused in a namespace of no grant', async () => {
    for (const namespace of ['shop', 'meshpass-system', 'meshpass-unknown']) {
      const request = {
        namespace,
        serviceAccount: 'ann-5',
        csr: await freshCsr(),
        ttl: 600,
        queue: 'arrival',
      } as const;
      expect((await failure(mesh.authority.sign(request))).code).toBe('kubernetes_unavailable');
    }
  });

  it('is issued to many sessions at once, to each its own', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `crowd-${index}`);
    const began = performance.now();
    const signed = await Promise.all(names.map((name) => sign(name)));
    console.log(
      `${(signed.length / ((performance.now() - began) / 1000)).toFixed(0)} new ServiceAccounts and certificates a second`,
    );
    expect(signed.map(({ spiffeId }) => spiffeId.split('/').at(-1))).toEqual(names);
  });
});

describe('when istiod is not itself or not there', () => {
  it('another server than istiod gets no token', async () => {
    const other = await on.connect({ istiod: { address: on.lab.istiodAddress, serverName: 'orders.shop.svc' } });
    await untilReady(other);
    const error = await failure(sign('ann-6', freshCsr(), other));
    expect(error.code).toBe('ca_unavailable');
    expect(JSON.stringify(error.detail)).toContain('altnames');
  });

  it('killed while it signs: refused, and well again when it is back', async () => {
    const under = Array.from({ length: 60 }, (_, index) =>
      sign(`chaos-${index}`).then(
        () => 'signed',
        (error: MeshpassError) => error.code,
      ),
    );
    await until(
      () => mesh.authority.depth().running,
      (running) => running > 0,
    );
    await on.lab.kill('istiod');
    const outcomes = new Set(await Promise.all(under));
    expect([...outcomes].filter((outcome) => !['signed', 'ca_unavailable', 'overloaded'].includes(outcome))).toEqual(
      [],
    );
    expect(outcomes).toContain('ca_unavailable');
    const error = await failure(sign('ann-7'));
    expect([error.code, error.retryAfter]).toEqual(['ca_unavailable', 2]);
    expect(mesh.state.unready()).toEqual([]);
    await on.lab.restart('istiod');
    await until(
      () =>
        sign('ann-7').then(
          () => true,
          () => false,
        ),
      Boolean,
    );
  });

  it('killed Kubernetes: refused, and well again when it is back', async () => {
    await on.lab.kill('kube-apiserver');
    const error = await failure(sign('ann-8'));
    expect(error.code).toBe('kubernetes_unavailable');
    expect(JSON.stringify(error.detail)).toContain('ECONNREFUSED');
    await on.lab.restart('kube-apiserver');
    await on.lab.restart('kube-controller-manager'); // otherwise it takes minutes to check again
    await until(
      () =>
        sign('ann-8').then(
          () => true,
          () => false,
        ),
      Boolean,
      40,
    );
  });
});

describe('tokens of edges', () => {
  const edge = (audience: string, name = 'meshpass-edge') =>
    on.lab.kubernetes.serviceAccountToken('meshpass-system', name, [audience], 600);

  it('identify the presenter, if they are for the broker', async () => {
    const name = 'system:serviceaccount:meshpass-system:meshpass-edge';
    expect(await mesh.reviewToken(await edge('meshpass-broker'), 'meshpass-broker')).toBe(name);
    expect(await mesh.reviewToken(await edge('istio-ca'), 'meshpass-broker')).toBeUndefined();
    expect(
      await mesh.reviewToken(await edge('https://kubernetes.default.svc.cluster.local'), 'meshpass-broker'),
    ).toBeUndefined();
    expect(await mesh.reviewToken('not a token', 'meshpass-broker')).toBeUndefined();
    expect(await mesh.reviewToken('x'.repeat(20_000), 'meshpass-broker')).toBeUndefined();
  });
});

it('no log line holds a token or a key', () => {
  expect(on.logged()).not.toMatch(/eyJ|PRIVATE|Bearer/);
});
