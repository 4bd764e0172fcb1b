import { afterEach, describe, expect, test } from 'vitest';
import { ALICE, buildRoad, closed, connectHead, hear, ORDERS, type Road, refusalOf, say } from './data-path.ts';
import { type Credential, createCa, svid } from './mesh-ca.ts';

let road: Road;
afterEach(() => road.close());

/** A ticket of a connection that got through. */
async function ticketOf(credential: Credential): Promise<Buffer> {
  const outer = await road.outer(credential);
  const session = await road.ticket(outer);
  outer.destroy();
  await road.empty();
  return session;
}

describe('a resumed TLS session', () => {
  test('gets through while its session is live', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const alice = await svid(road.mesh, ALICE);
    const resumed = await road.outer(alice, await ticketOf(alice));
    expect(resumed.isSessionReused()).toBe(true);
    expect(await say(resumed, connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
    expect(road.edge.stats().resumed).toBe(1);
  });

  test('keeps the identity of its ticket, even when the client presents no certificate now', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const ticket = await ticketOf(await svid(road.mesh, ALICE));
    const resumed = await road.outer(undefined, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    await say(resumed, connectHead(ORDERS));
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    await closed(resumed);
  });

  test('is refused once the session is closed', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const alice = await svid(road.mesh, ALICE);
    const ticket = await ticketOf(alice);
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'goodbye' });
    const resumed = await road.outer(alice, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_session_unknown');
  });

  test('is refused once the SVID of its ticket has expired, though the client holds a new one', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const ticket = await ticketOf(await svid(road.mesh, ALICE, { notAfter: Date.now() + 20_000 }));
    road.advance(21_000);
    road.directory.apply({ type: 'beat', at: 0 });
    const renewed = await svid(road.mesh, ALICE);
    const resumed = await road.outer(renewed, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_untrusted');
    expect(await say(await road.outer(renewed), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  });

  test('of a client without a certificate stays without one', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const nobody = await road.outer(undefined);
    const ticket = await road.ticket(nobody);
    const resumed = await road.outer(undefined, ticket);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_missing');
  });
});

describe('when the roots of the mesh change', () => {
  test('a new root is trusted without a restart, and open tunnels live on', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const { inner } = await road.tunnel(await svid(road.mesh, ALICE));
    const next = await createCa('next mesh');
    const early = await road.outer(await svid(next, ALICE));
    expect(refusalOf(await hear(early)).code).toBe('tunnel_certificate_untrusted');
    road.directory.apply({ type: 'roots', roots: [road.mesh.root, next.root] });
    expect(await say(await road.outer(await svid(next, ALICE)), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
    expect(await say(await road.outer(await svid(road.mesh, ALICE)), connectHead(ORDERS))).toBe(
      'HTTP/1.1 200 OK\r\n\r\n',
    );
    expect(await say(inner, 'still here')).toBe('still here');
  });

  test('a removed root is distrusted at once: warm connections are cut, and tickets worth nothing', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const alice = await svid(road.mesh, ALICE);
    const ticket = await ticketOf(alice);
    const warm = await road.outer(alice);
    const next = await createCa('next mesh');
    road.directory.apply({ type: 'roots', roots: [next.root] });
    await closed(warm);
    const resumed = await road.outer(alice, ticket);
    expect(resumed.isSessionReused()).toBe(false);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_untrusted');
  });

  test('without any root nobody is trusted, not even a certificate of the public web', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    road.directory.apply({ type: 'roots', roots: [] });
    const outer = await road.outer(await svid(road.mesh, ALICE));
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_certificate_untrusted');
  });

  test('roots that cannot be read mean that nobody is trusted', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    road.directory.apply({
      type: 'roots',
      roots: ['-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n'],
    });
    const outer = await road.outer(await svid(road.mesh, ALICE));
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_certificate_untrusted');
  });
});

test('a renewed certificate of the edge serves new connections', async () => {
  road = await buildRoad();
  road.admit('s-alice', ALICE);
  const alice = await svid(road.mesh, ALICE);
  const before = (await road.outer(alice)).getPeerCertificate().serialNumber;
  road.edge.renew(await road.web.issue({ san: [{ type: 'dns', value: 'edge.test' }] }));
  const after = (await road.outer(alice)).getPeerCertificate().serialNumber;
  expect(after).not.toBe(before);
  expect(() => road.edge.renew({ cert: 'nonsense', key: 'nonsense' })).toThrow();
  expect((await road.outer(alice)).getPeerCertificate().serialNumber).toBe(after);
});
