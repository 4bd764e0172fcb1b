import type { ForeignPolicy, Mesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compile, parseAccess } from '../../src/index.ts';
import type { Manifest } from '../../src/model.ts';
import { EXAMPLE, MESH, ON_LEDGER, ON_ORDERS, TOKENS } from '../shop.ts';

const compiled = (mesh: Mesh = MESH) => compile(parseAccess(EXAMPLE, 'access.yaml'), mesh, TOKENS);
const spec = (manifest: Manifest | undefined) =>
  manifest?.spec as { readonly [member: string]: unknown; readonly rules: readonly unknown[] };
const allows = (manifests: readonly Manifest[]) => manifests.filter((manifest) => spec(manifest)?.action === 'ALLOW');

describe('ALLOW', () => {
  const withForeign = (...foreignPolicies: ForeignPolicy[]) => allows(compiled({ ...MESH, foreignPolicies }));

  it('is not written where no one else allows: it would close the workload to every caller', () => {
    expect(allows(compiled())).toEqual([]);
    expect(
      withForeign({ name: 'x', namespace: 'shop', action: 'DENY' }, { name: 'y', namespace: 'shop', action: 'CUSTOM' }),
    ).toEqual([]);
    expect(withForeign({ name: 'x', namespace: 'dev', action: 'ALLOW' })).toEqual([]);
    expect(withForeign({ name: 'x', namespace: 'shop', action: 'ALLOW', selector: { app: 'web' } })).toEqual([]);
  });

  it.each<readonly [string, ForeignPolicy]>([
    ['the namespace', { name: 'closed', namespace: 'shop', action: 'ALLOW' }],
    ['the whole mesh', { name: 'closed', namespace: 'istio-system', action: 'ALLOW' }],
  ])('is written for each granted port where %s is closed', (_, foreign) => {
    const manifests = withForeign(foreign);
    expect(manifests.map(({ metadata }) => metadata.name)).toEqual([
      'meshpass-payments-dev.ledger-db.5432.allow',
      'meshpass-payments-dev.orders.8080.allow',
    ]);
    expect(spec(manifests[0])).toEqual({
      selector: { matchLabels: { app: 'ledger-db' } },
      action: 'ALLOW',
      rules: [
        {
          from: [{ source: { namespaces: ['meshpass-payments-dev'] } }],
          when: ON_LEDGER,
        },
      ],
    });
    expect(spec(manifests[1])).toEqual({
      selector: { matchLabels: { app: 'orders' } },
      action: 'ALLOW',
      rules: [
        {
          from: [
            { source: { namespaces: ['meshpass-payments-dev'], requestPrincipals: ['https://broker.acme.example/*'] } },
          ],
          to: [
            { operation: { methods: ['GET'], paths: ['/orders/*'] } },
            { operation: { methods: ['POST'], paths: ['/refunds'] } },
          ],
          when: [...ON_ORDERS, { key: 'request.auth.claims[grants]', values: ['payments-dev'] }],
        },
      ],
    });
    expect(manifests[1]?.metadata.annotations?.['meshpass.dev/because']).toBe(
      `ALLOW ${foreign.namespace}/closed governs the workload`,
    );
  });

  it('selects no workload that the foreign ALLOW does not: version v1 stays open where only v2 is closed', () => {
    const manifests = withForeign({ name: 'v2', namespace: 'shop', action: 'ALLOW', selector: { version: 'v2' } });
    expect(manifests.map((manifest) => spec(manifest).selector)).toEqual([
      { matchLabels: { app: 'orders', version: 'v2' } },
    ]);
    expect(manifests[0]?.metadata.name).toMatch(/^meshpass-payments-dev\.orders\.8080\.allow-[0-9a-f]{8}$/);
  });

  it('is written once for policies that select alike', () => {
    const selector = { app: 'orders' };
    const manifests = withForeign(
      { name: 'a', namespace: 'shop', action: 'ALLOW', selector },
      { name: 'b', namespace: 'shop', action: 'ALLOW', selector },
      { name: 'c', namespace: 'istio-system', action: 'ALLOW', selector },
    );
    expect(manifests.map(({ metadata }) => metadata.name)).toEqual(['meshpass-payments-dev.orders.8080.allow']);
  });
});
