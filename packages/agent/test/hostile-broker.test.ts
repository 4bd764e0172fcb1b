/** A compromised broker, which gains nothing on the developer's machine. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { serviceShortNames } from '../src/session/mesh-host.ts';
import { service } from './harness.ts';
import type { TamperedAnswer } from './test-broker.ts';
import { surroundingsOfAgent, world } from './world.ts';

const HOSTS = '127.0.0.1 localhost\n';

/** Starts an agent at a broker whose response to the proof was corrupted. */
async function startedWith(spoil: (answer: TamperedAnswer) => void) {
  const parts = await surroundingsOfAgent({
    adjust: (broker) => {
      broker.tamper = (call, answer) => {
        if (call === 'POST /token' && answer.json?.session) spoil(answer);
      };
    },
  });
  return { ...parts, started: parts.start() };
}

test.each([
  ['a host outside the mesh', { host: 'github.com', aliases: [] }],
  ['an alias outside the mesh', { aliases: ['github.com'] }],
  ['localhost', { host: 'localhost', aliases: [] }],
  ['the metadata service', { host: 'metadata.google.internal', aliases: [] }],
  ['a host of another cluster domain', { host: 'orders.shop.svc.evil.com', aliases: [] }],
  ['a second line for the hosts file', { aliases: ['orders.shop\n10.0.0.1 github.com'] }],
])('does not announce %s', async (_, more) => {
  const { started, hostsFile } = await startedWith(({ json }) => {
    json.services = [{ ...service(), ...more }];
  });
  await expect(started).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
  expect(readFileSync(hostsFile, 'utf8')).toBe(HOSTS);
});

test('assigns no short name to a Service named like an internet host', async () => {
  const { started, hostsFile } = await startedWith(({ json }) => {
    const spiffe_ids = ['spiffe://cluster.local/ns/com/sa/github'];
    json.services = [{ ...service(), host: 'github.com.svc.cluster.local', aliases: ['github.com'], spiffe_ids }];
  });
  const agent = await started;
  expect((await agent.status()).services[0]!.names).toEqual(['github.com.svc']);
  expect(readFileSync(hostsFile, 'utf8')).not.toMatch(/ github\.com( |$)/m);
});

test.each([
  ['orders.shop.svc.cluster.local', ['orders.shop.svc', 'orders.shop']],
  ['github.com.svc.cluster.local', ['github.com.svc']],
  ['crates.io.svc.cluster.local', ['crates.io.svc']],
  ['foo.localhost.svc.cluster.local', ['foo.localhost.svc']],
  ['127.1.svc.cluster.local', ['127.1.svc']],
  ['127.0x1.svc.cluster.local', ['127.0x1.svc']],
  ['orders.svc.cluster.local', undefined],
  ['a.orders.shop.svc.cluster.local', undefined],
  ['Orders.shop.svc.cluster.local', undefined],
  ['orders.shop.svc.cluster.local.', undefined],
  ['.shop.svc.cluster.local', undefined],
  ['*.shop.svc.cluster.local', undefined],
])('derives the short forms of %s', (host, expected) => {
  expect(serviceShortNames(host, 'cluster.local')).toEqual(expected);
});

test.each([
  ['a header that frames requests', 'content-length'],
  ['a header of the application', 'authorization'],
  ['a header that proxies trust', 'x-forwarded-for'],
  ['a header with a second one injected', 'x-token: 1\r\nx-evil'],
])('does not put the identity token into %s', async (_, name) => {
  const { started } = await startedWith(({ json }) => {
    json.mesh.token_header = name;
  });
  await expect(started).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
});

test.each<[string, (answer: TamperedAnswer) => void]>([
  ['services of another type', ({ json }) => Object.assign(json, { services: 'none' })],
  ['a service without a name', ({ json }) => Object.assign(json, { services: [{ grant: 'payments-dev' }] })],
  ['an injected header', ({ json }) => Object.assign(json.mesh, { token_header: 'x-token: 1\r\nx-evil' })],
  ['a contact that moves the cursor', ({ json }) => Object.assign(json.mesh, { contact: 'a\u001b[2J' })],
  ['a body other than JSON', (answer) => Object.assign(answer, { bytes: '<html>' })],
  ['another content type', (answer) => Object.assign(answer.headers, { 'content-type': 'text/html' })],
  ['deep JSON', (answer) => Object.assign(answer, { bytes: '['.repeat(500_000) })],
  ['a redirect', (answer) => Object.assign(answer, { status: 302, headers: { location: 'https://localhost:1/' } })],
])('keeps the current state of a running agent that receives %s', async (_, spoil) => {
  const w = await world({
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
    },
  });
  const before = (await w.agent.status()).services;
  const names = readFileSync(w.hostsFile, 'utf8');
  w.broker.tamper = (call, answer) => {
    if (call === 'GET /services') spoil(answer);
  };
  w.broker.servicesVersion = '2';
  const failure = async () => (await w.agent.status()).broker.failures.services;
  await expect.poll(failure, { timeout: 60_000 }).toBeDefined();
  expect((await w.agent.status()).services).toEqual(before);
  expect(readFileSync(w.hostsFile, 'utf8')).toBe(names);
  // The honest response is accepted again.
  w.broker.tamper = undefined;
  await expect.poll(failure, { timeout: 60_000 }).toBeUndefined();
});

test('pauses between requests although the broker asks it to wait forever', async () => {
  const w = await world({
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
    },
  });
  let asked = 0;
  w.broker.tamper = (call, answer) => {
    if (call !== 'POST /leases') return;
    asked += 1;
    Object.assign(answer, { status: 503, headers: { ...answer.headers, 'retry-after': '99999999999' } });
    answer.json = { error: 'x', error_code: 'overloaded', error_description: 'wait' };
  };
  await expect.poll(() => asked, { timeout: 60_000 }).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(asked).toBe(1);
});

test('removes terminal control characters from refusals', async () => {
  const { started } = await startedWith((answer) => {
    answer.status = 403;
    answer.json = { error: 'x', error_code: 'access_none', error_description: 'No.\u001b[2J\r\nYes.\u202e' };
  });
  await expect(started).rejects.toMatchObject({ code: 'access_none', message: 'No.\ufffd[2J\ufffd\ufffdYes.\ufffd' });
});

test('does not use a certificate followed by an invalid one', async () => {
  const w = await surroundingsOfAgent();
  w.broker.tamper = (call, { json }) => {
    if (call !== 'POST /certificates') return;
    json.certificates[0].chain += '\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  };
  await expect(w.start()).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
});

test('does not use a certificate for another key or identity', async () => {
  const w = await surroundingsOfAgent();
  w.broker.tamper = (call, { json }) => {
    if (call === 'POST /certificates') json.certificates[0].spiffe_id = 'spiffe://cluster.local/ns/kube-system/sa/x';
  };
  await expect(w.start()).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
  let first: string | undefined;
  w.broker.tamper = (call, { json }) => {
    if (call === 'POST /certificates') json.certificates[0].chain = first ??= json.certificates[0].chain;
  };
  await (await w.start()).close();
  await expect(w.start()).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
});
