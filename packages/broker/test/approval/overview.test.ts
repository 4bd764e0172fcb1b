/** Lists of requests stay within what an agent reads. */
import { describe, expect, it } from 'vitest';
import { createPortLister, takeWithinSize } from '../../src/admin/approval/overview.ts';
import type { MeshState } from '../../src/mesh/reconcile/connect-mesh.ts';

describe('lists of requests', () => {
  const allow = Array.from({ length: 20 }, (_, n) => `GET /api/v1/resource/${n}/*`);
  const asked: string[][] = [];
  const mesh = {
    inForce: () => true,
    services: (grants: string[]) => {
      asked.push(grants);
      return Array.from({ length: 50 }, (_, n) => ({ grant: grants[0], host: `s${n}.shop.svc`, port: 8080, allow }));
    },
  } as unknown as MeshState;

  it('describe the targets of so many, evaluate each grant once, and list the others without targets', () => {
    const opens = createPortLister(mesh, 256 * 1024);
    const all = Array.from({ length: 40 }, (_, n) => ({ id: n, opens: opens(n % 2 === 0 ? 'a' : 'b') }));
    expect(asked).toEqual([['a'], ['b']]);
    expect(all[0]!.opens).toHaveLength(50);
    expect(all.at(-1)).toEqual({ id: 39, opens: undefined });
    expect(Buffer.byteLength(JSON.stringify(all))).toBeLessThan(300 * 1024);
  });

  it('have the first that are not too long together', () => {
    expect(takeWithinSize(['aa', 'bb', 'cc'], 8)).toEqual(['aa', 'bb']);
    expect(takeWithinSize([], 0)).toEqual([]);
  });
});
