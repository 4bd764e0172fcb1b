/** CONNECT as Envoy sends it, with the SNI of the inner connection including its subset. */
import { afterEach, describe, expect, test } from 'vitest';
import {
  ALICE,
  buildDataPath,
  captureHello,
  closed,
  connectBySni,
  type DataPath,
  LEDGER,
  refusalOf,
  say,
} from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

describe('a CONNECT with an SNI', () => {
  const v2 = 'outbound_.8080_.v2_.orders.shop.svc.cluster.local';

  test.each(['', 'v2', 'canary'])(
    'reaches subset "%s" of a granted target, and the decision contains the SNI',
    async (subset) => {
      const sni = `outbound_.8080_.${subset}_.orders.shop.svc.cluster.local`;
      const outer = await outerOfAlice();
      expect(await say(outer, connectBySni(sni))).toBe('HTTP/1.1 200 OK\r\n\r\n');
      expect((await say(outer, await captureHello(sni))).charCodeAt(0)).toBe(22);
      expect(dataPath.decisions).toMatchObject([
        { outcome: 'allowed', target: 'orders.shop.svc.cluster.local:8080', sni, session_id: 's-alice' },
      ]);
    },
  );

  test.each([
    ['the service without a subset', v2.replace('.v2_', '._')],
    ['another subset', v2.replace('v2', 'v3')],
    ['another port', v2.replace('8080', '9090')],
    ['the SNI with the port of CONNECT', `${v2}:15443`],
    ['the service', 'orders.shop.svc.cluster.local'],
  ])('is refused if the inner ClientHello contains %s', async (_what, named) => {
    const outer = await outerOfAlice();
    await say(outer, connectBySni(v2));
    const answer = await say(outer, await captureHello(named));
    expect([...Buffer.from(answer, 'latin1')]).toEqual([21, 3, 3, 0, 2, 2, 112]);
    expect(dataPath.decisions).toMatchObject([{ outcome: 'refused', code: 'tunnel_sni_mismatch', sni: v2 }]);
    expect(dataPath.arrivals.map((socket) => socket.bytesRead)).toEqual([0]);
  });

  test.each([
    ['another service', 'outbound_.5432_.v2_.ledger-db.shop.svc.cluster.local'],
    ['another port of the service', 'outbound_.9090_._.orders.shop.svc.cluster.local'],
    ['the control plane', 'outbound_.15012_._.istiod.istio-system.svc.cluster.local'],
    ['a short name', 'outbound_.8080_._.orders.shop'],
  ])('is refused for %s, which is not granted', async (_what, sni) => {
    const outer = await outerOfAlice();
    const refusal = refusalOf(await say(outer, connectBySni(sni)));
    expect(refusal.code).toBe('tunnel_target_not_granted');
    expect(dataPath.decisions).toMatchObject([{ outcome: 'refused', code: refusal.code, id: refusal.decision, sni }]);
    expect(dataPath.arrivals).toHaveLength(0);
  });

  test('loses its tunnel with its target', async () => {
    const outer = await outerOfAlice();
    await say(outer, connectBySni(v2));
    await say(outer, await captureHello(v2));
    dataPath.admit('s-alice', ALICE, [LEDGER]);
    await closed(outer);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_target_not_granted', sni: v2 });
  });

  async function outerOfAlice() {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    return dataPath.outer(await svid(dataPath.mesh, ALICE));
  }
});
