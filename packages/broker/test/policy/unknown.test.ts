/** The broker refuses a policy if it does not know whether a grant works, unless an operator accepts that; the audit log then says so. */
import { randomBytes } from 'node:crypto';
import { loadManifests } from '@meshpass/istio';
import { expect, it, onTestFinished } from 'vitest';
import { createPolicyChanges } from '../../src/admin/policy/change.ts';
import { createProver } from '../../src/admin/policy/prover.ts';
import type { AuditContext } from '../../src/audit/log/decision.ts';
import { type AuditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { playJournal } from '../harness/journal.ts';
import { playPolicyMesh } from '../harness/policy-mesh.ts';

const CLUSTER = loadManifests(
  `apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: disabled}}
`,
  'cluster.yaml',
).resources;
const KEPT = {
  main: 'access.yaml',
  files: {
    'access.yaml':
      'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}\n',
  },
};

it('refuses a grant on a workload without a sidecar, and applies it once an operator accepts it', async () => {
  const taken: unknown[] = [];
  const mesh = playPolicyMesh({
    read: async () => CLUSTER,
    take: async (access) => void taken.push(access),
    onDisk: () => KEPT,
  });
  const rows: AuditRow[] = [];
  const audit: AuditContext = {
    clock: Date.now,
    journal: playJournal(async ({ audit }) => void rows.push(...audit)),
    observe: () => {},
  };
  const prover = createProver();
  onTestFinished(prover.close);
  const changes = createPolicyChanges(mesh, prover, { db: undefined as never }, audit);
  const { id, findings } = await changes.plan(KEPT);
  expect(findings.map(({ kind }) => kind)).toEqual(['not-known']);
  const event = createAuditEvent('policy.apply', {}, Date.now, randomBytes);
  await expect(changes.apply(KEPT, id, { by: 'an operator' }, event)).rejects.toMatchObject({
    code: 'plan_refused',
    message: expect.stringContaining('it is not known whether grant dev works on orders.shop:8080'),
  });
  expect(taken).toEqual([]);
  await changes.apply(KEPT, id, { by: 'an operator', acceptUnknown: true }, event);
  expect(taken).toHaveLength(1);
  expect(JSON.parse(rows[0]!.detail!)).toMatchObject({
    accepted_unknown: [expect.stringContaining('disabled in namespace shop')],
  });
});
