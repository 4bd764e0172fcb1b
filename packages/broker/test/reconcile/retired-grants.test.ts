import { describe, expect, it } from 'vitest';
import { readRetiredNamespaces, retirementPolicy } from '../../src/mesh/reconcile/revocation/retired-grants.ts';

const at = { now: 1_000, life: 600, rootNamespace: 'istio-system' };

describe('a grant that has gone', () => {
  it('is denied for as long as its certificates may live, counted from when it went', () => {
    const first = retirementPolicy(new Map(), ['meshpass-a'], new Set(), at);
    expect(first.nextChange).toBe(1_600);
    expect(first.policy?.spec).toEqual({
      action: 'DENY',
      rules: [{ from: [{ source: { namespaces: ['meshpass-a'] } }] }],
    });
    const later = retirementPolicy(new Map([['meshpass-a', 1_600]]), ['meshpass-a', 'meshpass-b'], new Set(), {
      ...at,
      now: 1_500,
    });
    expect(later.nextChange).toBe(1_600);
    expect(JSON.stringify(later.policy)).toContain('["meshpass-a","meshpass-b"]');
    expect(
      retirementPolicy(new Map([['meshpass-a', 1_600]]), [], new Set(), { ...at, now: 1_600 }).policy,
    ).toBeUndefined();
  });

  it('and comes back is not denied', () => {
    expect(retirementPolicy(new Map([['meshpass-a', 1_600]]), [], new Set(['meshpass-a']), at).policy).toBeUndefined();
  });

  it('is remembered by the policy itself', async () => {
    const { policy } = retirementPolicy(new Map(), ['meshpass-a'], new Set(), at);
    const remembered = await readRetiredNamespaces({ list: async () => [policy!] }, 'istio-system');
    expect(remembered).toEqual(new Map([['meshpass-a', 1_600]]));
    const spoiled = {
      ...policy!,
      metadata: { ...policy!.metadata, annotations: { 'meshpass.dev/retired-until': '{' } },
    };
    expect(await readRetiredNamespaces({ list: async () => [spoiled] }, 'istio-system')).toEqual(new Map());
  });
});
