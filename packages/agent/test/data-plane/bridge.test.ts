/**
 * A container on a bridge, which cannot reach the workspace's own loopback through the proxy, whatever addresses a name
 * has.
 */
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { sendControlRequest } from '../../src/control/control.ts';
import { createAddressCheckHandler, resolveOutsideAddress } from '../../src/proxy/outside-address.ts';
import { runAgent } from '../../src/run-agent.ts';
import { afterThisTest, surroundingsOfAgent } from '../world.ts';

const run = promisify(execFile);
/** A non-loopback address of this machine, in the role of the bridge's. */
const OUTSIDE = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === 'IPv4' && !one.internal)!.address;
/** An address without a host (RFC 5737). */
const NOWHERE = '192.0.2.1';
const A = 1;
const AAAA = 28;
const ZONE: Readonly<Record<string, Readonly<Record<number, readonly string[]>>>> = {
  'outside.example': { [A]: [OUTSIDE] },
  'loopback-second.example': { [A]: [NOWHERE, '127.0.0.1'] },
  'loopback-last.example': { [A]: [NOWHERE, '192.0.2.2', '192.0.2.3', '0.0.0.0', '127.9.9.9'] },
  'loopback-by-ipv6.example': { [A]: [NOWHERE], [AAAA]: ['::1', '::ffff:127.0.0.1'] },
  'loopback-mapped.example': { [AAAA]: ['::ffff:127.0.0.1'] },
  'loopback.example': { [A]: ['127.0.0.1'] },
  'metadata.example': { [A]: ['169.254.169.254'] },
};

const dns = createSocket('udp4');
const server = createServer((_, answer) => answer.end('only for the workspace'));
let served: number;

beforeAll(async () => {
  dns.on('message', (query, { port: to, address }) => dns.send(answerTo(query), to, address));
  dns.bind(0, '127.0.0.1');
  server.listen(0, '0.0.0.0');
  await Promise.all([once(dns, 'listening'), once(server, 'listening')]);
  served = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.close();
  dns.close();
});

/**
 * Starts an agent whose proxy also listens for containers, and returns a client for it.
 * @param interfaces defaults to none, so that this machine's address counts as another machine's
 */
async function bridged(interfaces: typeof networkInterfaces = () => ({})) {
  const { config, workload } = await surroundingsOfAgent();
  const surroundings = {
    env: { CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' },
    readText: () => undefined,
    sharedDirectory: '/nowhere',
  };
  const resolver = new Resolver({ timeout: 1_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${(dns.address() as AddressInfo).port}`]);
  const agent = await runAgent({ ...config, bridgeAddress: OUTSIDE }, { surroundings, resolver, interfaces });
  afterThisTest(() => agent.close());
  const ask = (container: boolean) =>
    sendControlRequest<Record<string, string>>(config.runtimeDirectory, { command: 'env', container });
  const fromContainer = (await ask(true)).http_proxy!;
  const fromWorkspace = (await ask(false)).http_proxy!;
  const curl = async (proxy: string, url: string, ...more: readonly string[]) => {
    const argv = ['-s', '-m', '8', '-w', '\n%{http_code}', ...more, '-x', proxy, url];
    const { stdout } = await run('curl', argv).catch(({ stdout }: { stdout: string }) => ({ stdout }));
    const at = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
  };
  return { agent, workload, curl, fromContainer, fromWorkspace };
}

/** Answers a DNS query over UDP (RFC 1035) with one question, from ZONE. */
function answerTo(query: Buffer): Buffer {
  let at = 12;
  const labels: string[] = [];
  for (; query[at] !== 0; at += query[at]! + 1) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
  const question = query.subarray(12, at + 5);
  const type = query.readUInt16BE(at + 1);
  const addresses = ZONE[labels.join('.').toLowerCase()]?.[type] ?? [];
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(0x8580, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(addresses.length, 6);
  const records = addresses.map((address) => {
    const bytes = type === A ? Buffer.from(address.split('.').map(Number)) : ipv6(address);
    const record = Buffer.alloc(12);
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt16BE(bytes.length, 10);
    return Buffer.concat([record, bytes]);
  });
  return Buffer.concat([head, question, ...records]);
}

function ipv6(address: string): Buffer {
  return address === '::1'
    ? Buffer.from(`${'00'.repeat(15)}01`, 'hex')
    : Buffer.concat([Buffer.from(`${'00'.repeat(10)}ffff`, 'hex'), Buffer.from([127, 0, 0, 1])]);
}

const WAYS = [
  ['in absolute form', []],
  ['by CONNECT', ['-p']],
] as const;

test.each(WAYS)('reaches another machine and a service %s, by name and by address', async (_, how) => {
  const { curl, fromContainer } = await bridged();
  for (const host of ['outside.example', OUTSIDE]) {
    const answer = await curl(fromContainer, `http://${host}:${served}/`, ...how);
    expect({ host, ...answer }).toEqual({ host, status: 200, body: 'only for the workspace' });
  }
  const { status, body } = await curl(fromContainer, 'http://orders.shop:8080/orders/7', ...how);
  expect(status).toBe(200);
  expect(body).toMatch(/x-meshpass-token: head\.token\d+\.sig\r\n/);
});

test.each(WAYS)('does not reach the loopback %s if any address of a name leads there', async (_, how) => {
  const { curl, fromContainer, fromWorkspace } = await bridged();
  for (const name of Object.keys(ZONE).filter((one) => one.startsWith('loopback'))) {
    for (let attempt = 0; attempt < 2; attempt++) {
      const { status, body } = await curl(fromContainer, `http://${name}:${served}/`, ...how);
      expect({ name, body, status }).toMatchObject({ body: expect.not.stringContaining('only for') });
      expect({ name, status }).not.toEqual({ name, status: 200 });
    }
  }
  // The workspace's own programs may connect, which shows that the bridge's listener is what refuses.
  expect(await curl(fromWorkspace, `http://127.0.0.1:${served}/`, ...how)).toMatchObject({ status: 200 });
});

test('refuses addresses of the workspace itself and link-local ones immediately, and shows them in the status', async () => {
  const { curl, fromContainer, agent } = await bridged();
  const own = ['127.0.0.1', '127.9.9.9', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]'];
  const linkLocal = ['[::ffff:0:0]', '169.254.169.254', '[::ffff:169.254.169.254]', '[fe80::1]', 'metadata.example'];
  const metadata = ['168.63.129.16', '[fd00:ec2::254]'];
  for (const host of [
    ...own,
    ...linkLocal,
    ...metadata,
    'loopback.example',
    'loopback-second.example',
    'loopback-mapped.example',
  ]) {
    const { status, body } = await curl(fromContainer, `http://${host}:${served}/`);
    expect({ host, status }).toEqual({ host, status: 403 });
    expect(body).toContain('is an address of the workspace itself, which containers cannot reach.\n');
  }
  await expect
    .poll(async () => (await agent.status()).refusals[0])
    .toMatchObject({ hop: 'workspace', code: 'agent_direct_unreachable' });
});

test('refuses the current address of any interface of the workspace, by name and by address', async () => {
  let own = {};
  const { curl, fromContainer } = await bridged(() => own);
  for (const host of ['outside.example', OUTSIDE, `[::ffff:${OUTSIDE}]`])
    expect({ host, ...(await curl(fromContainer, `http://${host}:${served}/`)) }).toMatchObject({ host, status: 200 });
  own = networkInterfaces();
  for (const host of ['outside.example', OUTSIDE, `[::ffff:${OUTSIDE}]`]) {
    const { status, body } = await curl(fromContainer, `http://${host}:${served}/`);
    expect({ host, status }).toEqual({ host, status: 403 });
    expect(body).toContain('is an address of the workspace itself');
  }
  // Without a list from the test, the agent uses the machine's interfaces.
  const unasked = () => Promise.reject(new Error('asked'));
  const answer = await resolveOutsideAddress(OUTSIDE, { resolve4: unasked, resolve6: unasked });
  expect(answer).toMatchObject({ status: 'Forbidden' });
});

test("reads the machine's DNS servers for each lookup", async () => {
  const resolve4 = vi.spyOn(Resolver.prototype, 'resolve4').mockResolvedValue([NOWHERE]);
  try {
    const ask = createAddressCheckHandler();
    const host = { attributes: { request: { http: { host: 'outside.example' } } } };
    for (let lookup = 0; lookup < 2; lookup++) {
      const questions = async function* () {
        yield host as never;
      };
      for await (const _ of ask(questions())) {
        // The answer does not matter here.
      }
    }
    const [first, second] = resolve4.mock.contexts;
    expect(first).toBeInstanceOf(Resolver);
    expect(second).not.toBe(first);
  } finally {
    resolve4.mockRestore();
  }
});

test('reports a name without an address as unreachable', async () => {
  const { curl, fromContainer } = await bridged();
  for (const host of ['nowhere.example', 'localhost']) {
    expect({ host, ...(await curl(fromContainer, `http://${host}:${served}/`)) }).toEqual({
      host,
      status: 502,
      body: `meshpass: cannot reach ${host}:${served}: the name does not resolve to an address.\n`,
    });
  }
});

test.each([
  ['2130706433', 'Forbidden'],
  ['127.1:80', 'Forbidden'],
  ['0x7f.0.0.1', 'Forbidden'],
  ['user@127.0.0.1', 'Forbidden'],
  ['127.0.0.1.', 'Forbidden'],
  ['[::ffff:7f00:1]:80', 'Forbidden'],
  ['', 'BadGateway'],
  ['a b', 'BadGateway'],
  ['[::1', 'BadGateway'],
])('refuses %s without a lookup', async (authority, status) => {
  const unasked = () => Promise.reject(new Error('asked'));
  expect(await resolveOutsideAddress(authority, { resolve4: unasked, resolve6: unasked })).toMatchObject({
    status,
  });
});

test('connects to the address from the lookup that was checked', async () => {
  const asked: string[] = [];
  const resolver = {
    resolve4: (name: string) => {
      asked.push(name);
      return Promise.resolve(['192.0.2.7', '192.0.2.8']);
    },
    resolve6: () => Promise.reject(new Error('asked')),
  };
  expect(await resolveOutsideAddress('Outside.Example:8080', resolver)).toEqual({ address: '192.0.2.7:8080' });
  expect(asked).toEqual(['outside.example']);
});
