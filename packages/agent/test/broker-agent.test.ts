import { once } from 'node:events';
import { createServer, request, type Server } from 'node:https';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { BrokerAgent, brokerUrl } from '../src/session/broker-agent.ts';
import { createAuthority, listen } from './harness.ts';

test('sends the first and all further requests over the connection that was opened early', async () => {
  const { url, agent, connections } = await serve();
  agent.openEarly(url);
  await expect.poll(connections).toBe(1);
  for (let call = 0; call < 3; call++) expect(await ask(url, agent)).toBe(200);
  expect(connections()).toBe(1);
});

test('makes a request wait for an early connection that is still opening', async () => {
  const { url, agent, connections } = await serve();
  agent.openEarly(url);
  expect(await ask(url, agent)).toBe(200);
  expect(connections()).toBe(1);
});

const loopbacks = Object.values(networkInterfaces()).flatMap((all = []) => all.filter(({ internal }) => internal));

test.each(['127.0.0.1', ...(loopbacks.some(({ address }) => address === '::1') ? ['::1'] : [])])(
  'connects to a broker by its address: %s',
  async (address) => {
    const { url, agent, connections } = await serve(address);
    await agent.openEarly(url);
    await expect.poll(connections).toBe(1);
    expect(await ask(url, agent)).toBe(200);
    expect(connections()).toBe(1);
  },
);

test('sends no request to a broker whose certificate is for another address', async () => {
  const { url, agent } = await serve('127.0.0.1', '127.0.0.2');
  await agent.openEarly(url);
  await expect(ask(url, agent)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
});

test('replaces an early connection that has ended', async () => {
  const { url, agent, connections, server } = await serve();
  agent.openEarly(url);
  await expect.poll(connections).toBe(1);
  server.closeAllConnections();
  // Until the client notices the end, it may still lose a request on the connection.
  await expect.poll(() => ask(url, agent).catch(() => undefined)).toBe(200);
  expect(connections()).toBe(2);
});

test('does not use an early connection to a broker that cannot be verified', async () => {
  const { url, connections } = await serve();
  const trusting = new BrokerAgent({ ca: (await createAuthority('another')).root });
  onTestFinished(() => trusting.destroy());
  trusting.openEarly(url);
  await expect.poll(connections).toBe(1);
  await expect(ask(url, trusting)).rejects.toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
});

test('refuses a broker without https', () => {
  expect(() => brokerUrl('http://broker.example.com')).toThrow(expect.objectContaining({ code: 'config_invalid' }));
});

interface Served {
  readonly url: URL;
  readonly agent: BrokerAgent;
  readonly server: Server;
  readonly connections: () => number;
}

/** @param certified host in the certificate */
async function serve(host = 'localhost', certified = host): Promise<Served> {
  const ca = await createAuthority('public');
  const server = createServer(await ca.issue(certified), (_request, response) => void response.end('{}'));
  let connections = 0;
  server.on('connection', () => connections++);
  const port = await listen(server, isIP(host) === 6 ? host : undefined);
  const agent = new BrokerAgent({ ca: ca.root });
  onTestFinished(() => {
    agent.destroy();
    server.closeAllConnections();
    server.close();
  });
  return {
    url: brokerUrl(`https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`),
    agent,
    server,
    connections: () => connections,
  };
}

async function ask(url: URL, agent: BrokerAgent): Promise<number | undefined> {
  const outgoing = request(url, { agent }).end();
  const [answer] = await once(outgoing, 'response');
  answer.resume();
  // Not the end of the response: the agent has the connection back only now.
  await once(outgoing, 'close');
  return answer.statusCode;
}
