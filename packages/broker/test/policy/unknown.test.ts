/** The broker applies nothing of which it does not know whether it works, unless somebody answers for it; then the audit log says what. */
import { randomBytes } from 'node:crypto';
import { loadManifests } from '@meshpass/istio';
import { expect, it } from 'vitest';
import type { AuditContext } from '../../src/audit/log/decision.ts';
import { type AuditRow, newEvent } from '../../src/audit/log/event.ts';
import { policyChanges } from '../../src/policy/change.ts';

const CLUSTER = loadManifests(
  `apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
`,
  'cluster.yaml',
).resources;
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
const KEPT = {
  main: 'access.yaml',
  files: {
    'access.yaml':
      'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}\n',
  },
};

it('refuses a grant on an ambient workload, and applies it where that is accepted', async () => {
  const taken: unknown[] = [];
  const mesh = {
    shape: {
      ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
      gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
    },
    tokens: () => ({ issuer: 'https://broker.test', audience: 'meshpass', header: 'x-meshpass-token', jwks: JWKS }),
    ...{ read: async () => CLUSTER, inForce: () => undefined, onChange: () => () => {}, drift: () => undefined },
    rehearse: async () => {},
    take: async (access: unknown) => void taken.push(access),
    resume: () => {},
  };
  const rows: AuditRow[] = [];
  const audit: AuditContext = {
    clock: Date.now,
    journal: { write: async (entry) => void rows.push(...entry.audit), flush: async () => {} },
    observe: () => {},
  };
  const changes = policyChanges(mesh, { db: undefined as never }, audit);
  const { id, findings } = await changes.plan(KEPT);
  expect(findings.map(({ kind }) => kind)).toEqual(['not-known']);
  const event = newEvent('policy.apply', {}, Date.now, randomBytes);
  expect(await changes.apply(KEPT, id, { by: 'an operator' }, event)).toMatchObject({
    granted: false,
    error: {
      code: 'plan_refused',
      message: expect.stringContaining('it is not known whether grant dev works on orders.shop:8080'),
    },
  });
  expect(taken).toEqual([]);
  await changes.apply(KEPT, id, { by: 'an operator' }, event, { acceptUnknown: true });
  expect(taken).toHaveLength(1);
  expect(JSON.parse(rows[0]!.detail!)).toMatchObject({
    accepted_unknown: [expect.stringContaining('namespace shop is in ambient mode')],
  });
});
