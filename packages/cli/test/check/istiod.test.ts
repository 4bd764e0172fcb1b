/** Selection of istiod for an operator's check. */
import { expect, it } from 'vitest';
import { checkIstiod } from '../../src/check/istiod.ts';

/** A cluster with the istiod of one revision. */
async function look(istiod: string) {
  const call = async ({ path, query }: { path: string; query: Record<string, string> }) => {
    if (path.endsWith('/pods'))
      return { status: 200, body: { items: [{ spec: { containers: [{ image: 'pilot:1.28.1' }] } }] } };
    const isIt = query.labelSelector === 'kubernetes.io/service-name=istiod-1-28';
    const slice = { endpoints: [{ conditions: { ready: true } }], ports: [{ port: 15012 }] };
    return { status: 200, body: { items: isIt ? [slice] : [] } };
  };
  const gateway = { namespace: 'meshpass-system', labels: {}, port: 15443 };
  return await checkIstiod({
    http: { call } as never,
    namespace: 'meshpass-system',
    rootNamespace: 'istio-system',
    istiod,
    gateway,
    gitops: false,
    now: Date.now,
  });
}

it('finds the istiod of a revision by the name of its Service', async () => {
  expect(await look('istiod-1-28')).toMatchObject({ state: 'ok', says: '1 ready; 1.28.1.' });
});

it('explains how to name it if none has the usual name', async () => {
  const finding = await look('istiod');
  expect(finding).toMatchObject({ state: 'failed' });
  expect(finding.next).toContain('--istiod-service');
});
