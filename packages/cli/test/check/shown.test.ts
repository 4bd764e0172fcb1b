/** Findings of `meshpass check` about the certificates that broker and edge present at their public names. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlainServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { type CertificateOptions, writeCertificate } from '../../../broker/test/harness/certificate.ts';
import { checkPublicAddress } from '../../src/check/certificates.ts';

const DAY = 86_400_000;
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function shows(certificate: CertificateOptions): Promise<{ readonly port: number; readonly ca: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-shown-'));
  ends.push(() => rmSync(dir, { recursive: true }));
  const { pem, keyFile } = await writeCertificate(dir, certificate);
  const server = createServer({ cert: pem, key: readFileSync(keyFile) }, (socket) => socket.on('error', () => {}));
  server.on('tlsClientError', () => {});
  return { port: await listen(server), ca: pem };
}

const look = (port: number, ca?: string, host = 'localhost') =>
  checkPublicAddress('edge', { host, port }, { namespace: 'mine', ca, now: Date.now() });

describe('a certificate', () => {
  it.each([
    ['that is good', {}, 'ok', /^The certificate for localhost is valid until \d{4}-\d\d-\d\d\.$/],
    ['of 90 days with 13 left', { from: -77 * DAY, until: 13.5 * DAY }, 'warning', 'expires in 13 days'],
    ['of 90 days with 29 left', { from: -61 * DAY, until: 29.5 * DAY }, 'ok', 'is valid until'],
    ['of a day with 8 hours left', { from: -(16 / 24) * DAY, until: (8 / 24) * DAY }, 'ok', 'is valid until'],
    ['of a day with 4 hours left', { from: -(20 / 24) * DAY, until: (4 / 24) * DAY }, 'warning', 'expires in 0 days'],
    ['that has expired', { from: -9 * DAY, until: -2 * DAY }, 'failed', 'expired on'],
    ['of another name', { name: 'elsewhere.test' }, 'failed', 'presents a certificate for 127.0.0.1, elsewhere.test.'],
  ] as const)('%s', async (_, certificate, state, says) => {
    const { port, ca } = await shows(certificate);
    const finding = await look(port, ca);
    expect(finding).toMatchObject({ state });
    expect(finding.says).toMatch(says);
    if (state !== 'ok') expect(finding).toMatchObject({ next: expect.any(String), command: expect.any(String) });
  });

  it('that has expired is replaced in the Secret of its part and namespace', async () => {
    const { port, ca } = await shows({ from: -9 * DAY, until: -2 * DAY });
    expect((await look(port, ca)).command).toContain('kubectl -n mine create secret tls meshpass-edge-tls');
  });

  it('of a CA that is not trusted here is refused, with the way to trust it', async () => {
    const { port } = await shows({});
    const finding = await look(port);
    expect(finding).toMatchObject({ state: 'failed', code: 'config_invalid' });
    expect(finding.says).toContain('its certificate is not trusted here (DEPTH_ZERO_SELF_SIGNED_CERT)');
    expect(finding.next).toContain('--ca-file');
  });
});

describe('without a certificate, the finding names the cause', () => {
  it('a name that does not resolve, with the Service to which it must point', async () => {
    const finding = await look(443, undefined, 'edge.invalid');
    expect(finding).toMatchObject({
      state: 'failed',
      says: expect.stringContaining('Cannot resolve edge.invalid'),
    });
    expect(finding.next).toContain('load balancer of the Service meshpass-edge');
    expect(finding.seen).toBe('look up edge.invalid');
  });

  it('a port without a listener', async () => {
    const server = createTcpServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    const finding = await look(port);
    expect(finding.says).toMatch(/^Cannot reach localhost:\d+ \(.+\) from here: connection refused\.$/);
  });

  it('something that does not speak TLS', async () => {
    const finding = await look(await listen(createPlainServer()));
    expect(finding.says).toContain('from here: the server does not speak TLS.');
  });

  it('something that hangs up', async () => {
    const finding = await look(await listen(createTcpServer((socket) => socket.destroy())));
    expect(finding.says).toContain('from here: connection closed before TLS.');
  });
});
