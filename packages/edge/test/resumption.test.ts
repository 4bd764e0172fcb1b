import { afterEach, describe, expect, test } from 'vitest';
import { ALICE, buildDataPath, closed, connectHead, type DataPath, hear, ORDERS, refusalOf, say } from './data-path.ts';
import { type Credential, createCa, svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

/** Returns a ticket of a connection that was accepted. */
async function ticketOf(credential: Credential): Promise<Buffer> {
  const outer = await dataPath.outer(credential);
  const session = await dataPath.ticket(outer);
  outer.destroy();
  await dataPath.empty();
  return session;
}

describe('a resumed TLS session', () => {
  test('is accepted while its session is live', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const alice = await svid(dataPath.mesh, ALICE);
    const resumed = await dataPath.outer(alice, await ticketOf(alice));
    expect(resumed.isSessionReused()).toBe(true);
    expect(await say(resumed, connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
    expect(dataPath.edge.stats().resumed).toBe(1);
  });

  test('keeps the identity of its ticket, even if the client now presents no certificate', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const ticket = await ticketOf(await svid(dataPath.mesh, ALICE));
    const resumed = await dataPath.outer(undefined, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    await say(resumed, connectHead(ORDERS));
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    await closed(resumed);
  });

  test('is refused once the session is closed', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const alice = await svid(dataPath.mesh, ALICE);
    const ticket = await ticketOf(alice);
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'goodbye' });
    const resumed = await dataPath.outer(alice, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_session_unknown');
  });

  test('is refused once the SVID of its ticket has expired, even if the client has a new one', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const ticket = await ticketOf(await svid(dataPath.mesh, ALICE, { notAfter: Date.now() + 20_000 }));
    dataPath.advance(21_000);
    dataPath.directory.apply({ type: 'beat', at: 0 });
    const renewed = await svid(dataPath.mesh, ALICE);
    const resumed = await dataPath.outer(renewed, ticket);
    expect(resumed.isSessionReused()).toBe(true);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_untrusted');
    expect(await say(await dataPath.outer(renewed), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  });

  test('of a client without a certificate has none either', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const nobody = await dataPath.outer(undefined);
    const ticket = await dataPath.ticket(nobody);
    const resumed = await dataPath.outer(undefined, ticket);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_missing');
  });
});

describe("after a change of the mesh's roots", () => {
  test('a new root is trusted without a restart, and open tunnels continue', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const { inner } = await dataPath.tunnel(await svid(dataPath.mesh, ALICE));
    const next = await createCa('next mesh');
    const early = await dataPath.outer(await svid(next, ALICE));
    expect(refusalOf(await hear(early)).code).toBe('tunnel_certificate_untrusted');
    dataPath.directory.apply({ type: 'roots', roots: [dataPath.mesh.root, next.root] });
    expect(await say(await dataPath.outer(await svid(next, ALICE)), connectHead(ORDERS))).toBe(
      'HTTP/1.1 200 OK\r\n\r\n',
    );
    expect(await say(await dataPath.outer(await svid(dataPath.mesh, ALICE)), connectHead(ORDERS))).toBe(
      'HTTP/1.1 200 OK\r\n\r\n',
    );
    expect(await say(inner, 'still here')).toBe('still here');
  });

  test('a removed root is distrusted at once: warm connections are cut and tickets are invalid', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const alice = await svid(dataPath.mesh, ALICE);
    const ticket = await ticketOf(alice);
    const warm = await dataPath.outer(alice);
    const next = await createCa('next mesh');
    dataPath.directory.apply({ type: 'roots', roots: [next.root] });
    await closed(warm);
    const resumed = await dataPath.outer(alice, ticket);
    expect(resumed.isSessionReused()).toBe(false);
    expect(refusalOf(await hear(resumed)).code).toBe('tunnel_certificate_untrusted');
  });

  test('no client is trusted without a root, not even one with a certificate of the public web', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    dataPath.directory.apply({ type: 'roots', roots: [] });
    const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE));
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_certificate_untrusted');
  });

  test('no client is trusted if the roots cannot be parsed', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    dataPath.directory.apply({
      type: 'roots',
      roots: ['-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n'],
    });
    const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE));
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_certificate_untrusted');
  });
});

test('a renewed certificate of the edge is used for new connections', async () => {
  dataPath = await buildDataPath();
  dataPath.admit('s-alice', ALICE);
  const alice = await svid(dataPath.mesh, ALICE);
  const before = (await dataPath.outer(alice)).getPeerCertificate().serialNumber;
  dataPath.edge.renew(await dataPath.web.issue({ san: [{ type: 'dns', value: 'edge.test' }] }));
  const after = (await dataPath.outer(alice)).getPeerCertificate().serialNumber;
  expect(after).not.toBe(before);
  expect(() => dataPath.edge.renew({ cert: 'nonsense', key: 'nonsense' })).toThrow();
  expect((await dataPath.outer(alice)).getPeerCertificate().serialNumber).toBe(after);
  expect(dataPath.edge.stats().certificate.notAfter * 1000).toBe(
    Date.parse((await dataPath.outer(alice)).getPeerCertificate().valid_to),
  );
});
