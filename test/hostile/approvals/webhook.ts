/** Answers to requests for approval that no webhook of the access file has signed like this, against the real broker. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { authorize, parseAccess } from '@meshpass/access';
import { Webhook } from 'standardwebhooks';
import { type Harness, startHarness } from '../../../packages/broker/test/harness/broker.ts';
import type { HostileArea, HostileInput, Outcome } from '../area.ts';
import { ask, sendBytes, type Target } from '../requests.ts';

export interface WebhookWorld {
  readonly harness: Harness;
  readonly broker: Target;
  readonly keys: string;
}

const FILE = `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}}}
approvals:
  webhooks:
    chat: {url: 'https://chat.example/meshpass', speaksFor: idp}
    pager: {url: 'https://pager.example/meshpass', speaksFor: idp}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod: {who: [{issuer: idp}], to: [{service: ledger.shop, port: 8080}], approval: {by: {issuer: idp}, for: 30m}}`;
const secret = (name: string) => `whsec_${Buffer.from(name.padEnd(32, '.')).toString('base64')}`;
const UNAUTHORIZED = 'approval_webhook_unauthorized';
const MALFORMED = 'request_malformed';

async function open(): Promise<WebhookWorld> {
  const keys = mkdtempSync(join(tmpdir(), 'meshpass-hostile-'));
  for (const name of ['chat', 'pager', 'stray']) writeFileSync(join(keys, name), `${secret(name)}\n`, { mode: 0o600 });
  const harness = await startHarness({ parts: () => ({ authorize }), config: { approvalWebhookKeys: keys } });
  const { grants, trust, webhooks } = parseAccess(FILE, 'access.yaml');
  harness.mesh.setAccess(grants, [], trust, [], { webhooks: webhooks! });
  const tls = { name: 'localhost', caFile: harness.caFile };
  return { harness, keys, broker: { host: '127.0.0.1', port: harness.broker.port, tls } };
}

/** A message before it is signed, and how it is sent. */
interface Message {
  method: string;
  path: string;
  key: string;
  id: string;
  time: string;
  body: string | Buffer;
  /** Signed content instead of that. */
  signs: { id?: string; at?: Date; body?: string };
  /** Changes the headers that are sent. */
  headers: (headers: string[]) => string[];
}

const REQUEST = '0'.repeat(24);
const honest = { request: REQUEST, decision: 'approve', by: { subject: 'bob' } };
let sent = 0;

/** A signature that counts leads to a request that there is not: that is as far as an honest message gets here. */
async function send({ harness, broker }: WebhookWorld, change: (message: Message) => void): Promise<Outcome> {
  // Rate limits per source and person are not tested here.
  harness.clockAhead += 60_000;
  const now = new Date();
  const message: Message = {
    method: 'POST',
    path: '/approvals/answers/chat',
    key: 'chat',
    id: `msg_${sent++}`,
    time: String(Math.floor(now.getTime() / 1000)),
    body: JSON.stringify(honest),
    signs: {},
    headers: (headers) => headers,
  };
  change(message);
  const { method, path, key, id, time, body, signs, headers } = message;
  const signature = new Webhook(secret(key)).sign(signs.id ?? id, signs.at ?? now, signs.body ?? String(body));
  const given = headers([
    ...['Content-Type', 'application/json', 'webhook-id', id],
    ...['webhook-timestamp', time, 'webhook-signature', signature],
  ]);
  const answer = await ask(broker, { method, path, headers: given, ...(method !== 'GET' && { body }) });
  return { accepted: answer.accepted || answer.json?.error_code === 'approval_unknown', answer: answer.answer };
}

type Input = HostileInput<WebhookWorld>;
const message = (fault: string, code: string, change: (message: Message) => void): Input => ({
  fault,
  code,
  control: (world) => send(world, () => {}),
  attack: (world) => send(world, change),
});
const headed = (fault: string, headers: Message['headers'], code = UNAUTHORIZED) =>
  message(fault, code, (one) => Object.assign(one, { headers }));
const without = (name: string) => (headers: string[]) =>
  headers.flatMap((value, at) => (at % 2 === 0 && value !== name ? [value, headers[at + 1]!] : []));
const instead = (name: string, change: (value: string) => string) => (headers: string[]) =>
  headers.map((value, at) => (headers[at - 1] === name ? change(value) : value));
const timed = (fault: string, time: string, at?: number) =>
  message(`a message whose time is ${fault}`, UNAUTHORIZED, (one) =>
    Object.assign(one, { time, signs: at === undefined ? {} : { at: new Date(at) } }),
  );
const bodied = (fault: string, body: string | object, code = MALFORMED) =>
  message(`a signed body ${fault}`, code, (one) => {
    one.body = typeof body === 'string' ? body : JSON.stringify({ ...honest, ...body });
  });
const pathed = (fault: string, path: string, code = UNAUTHORIZED) =>
  message(`an answer to ${fault}`, code, (one) => Object.assign(one, { path }));

const seconds = (ahead: number) => Math.floor(Date.now() / 1000) + ahead;

const SIGNATURES: readonly Input[] = [
  headed('a message without an id', without('webhook-id')),
  headed('a message without a time', without('webhook-timestamp')),
  headed('a message without a signature', without('webhook-signature')),
  headed(
    'a message with an empty id',
    instead('webhook-id', () => ''),
  ),
  headed(
    'a message with an empty signature',
    instead('webhook-signature', () => ''),
  ),
  headed(
    'a signature without its version',
    instead('webhook-signature', (value) => value.slice(3)),
  ),
  headed(
    'a signature of another version',
    instead('webhook-signature', (value) => value.replace('v1,', 'v2,')),
  ),
  headed(
    'a signature by a public key that is none',
    instead('webhook-signature', (value) => value.replace('v1,', 'v1a,')),
  ),
  headed(
    'the beginning of a signature',
    instead('webhook-signature', (value) => value.slice(0, -8)),
  ),
  headed(
    'a signature in hex',
    instead('webhook-signature', (value) => `v1,${Buffer.from(value.slice(3), 'base64').toString('hex')}`),
  ),
  headed(
    'the id of another message',
    instead('webhook-id', () => 'msg_other'),
  ),
  headed('two ids', (headers) => [...headers, 'webhook-id', 'msg_other']),
  headed('two times', (headers) => [...headers, 'webhook-timestamp', String(seconds(0))]),
  headed(
    'hundreds of signatures',
    instead('webhook-signature', () => Array(400).fill('v1,AAAA').join(' ')),
  ),
  headed('a flood of headers', (headers) => [...headers, ...Array(3_000).fill(['x', 'y']).flat()], '431'),
  message('a message by another webhook of the file', UNAUTHORIZED, (one) => Object.assign(one, { key: 'pager' })),
  message('a message with an id that is too long', UNAUTHORIZED, (one) => Object.assign(one, { id: 'x'.repeat(300) })),
  message('a signature of an empty body', UNAUTHORIZED, (one) => Object.assign(one, { signs: { body: '' } })),
  message('a signature of the body with a space more', UNAUTHORIZED, (one) =>
    Object.assign(one, { signs: { body: `${one.body} ` } }),
  ),
  timed('of yesterday', String(seconds(-86_400)), Date.now() - 86_400_000),
  timed('six minutes ago', String(seconds(-360)), Date.now() - 360_000),
  timed('an hour ahead', String(seconds(3_600)), Date.now() + 3_600_000),
  timed('in milliseconds', String(Date.now())),
  timed('followed by something', `${seconds(0)}.5`),
  timed('with a sign', `+${seconds(0)}`),
  timed('no number', 'now'),
];
const PATHS: readonly Input[] = [
  pathed('a webhook that there is not', '/approvals/answers/nobody'),
  pathed('a file of secrets that the access file does not name', '/approvals/answers/stray'),
  pathed('a webhook in upper case', '/approvals/answers/CHAT'),
  pathed('a webhook through a folder', '/approvals/answers/x%2f..%2fchat'),
  pathed('a webhook with a NUL', '/approvals/answers/chat%00'),
  pathed('no webhook', '/approvals/answers/', 'not_found'),
  pathed('a webhook with a slash behind', '/approvals/answers/chat/', 'not_found'),
  message('an answer by PUT', 'not_found', (one) => Object.assign(one, { method: 'PUT' })),
  message('an answer by GET', 'not_found', (one) => Object.assign(one, { method: 'GET' })),
];
const BODIES: readonly Input[] = [
  bodied('with an unknown member', { more: 1 }),
  bodied('with one member twice', JSON.stringify(honest).replace('{', '{"decision":"deny",')),
  bodied(
    'with one member twice within another',
    JSON.stringify(honest).replace('"subject":', '"subject":"eve","subject":'),
  ),
  bodied('with a prototype', JSON.stringify(honest).replace('{', '{"__proto__":{"seconds":1},')),
  bodied('that decides in upper case', { decision: 'APPROVE' }),
  bodied('that decides both', { decision: ['approve', 'deny'] }),
  bodied('of nobody', { by: {} }),
  bodied('of a person by number', { by: { subject: 9919 } }),
  bodied('of a person with an escape sequence', { by: { subject: 'bob\u001b[2J' } }),
  bodied('of a person with a long name', { by: { subject: 'x'.repeat(300) } }),
  bodied('of a person of another issuer beside', { by: { subject: 'bob', issuer: 'github' } }),
  bodied('for no time', { seconds: 0 }),
  bodied('for less than no time', { seconds: -60 }),
  bodied('for years', { seconds: 1e9 }),
  bodied('for a time as text', { seconds: '60' }),
  bodied('for a part of a second', { seconds: 60.5 }),
  bodied('about a request in upper case', { request: 'A'.repeat(24) }),
  bodied('about a request that is too short', { request: '0' }),
  bodied('about a request with a statement', { request: "' or '1'='1" }),
  bodied('with a long reason', { reason: 'x'.repeat(301) }),
  bodied('with a reason that turns text around', { reason: 'a\u202eb' }),
  bodied('with a mark before it', `\ufeff${JSON.stringify(honest)}`, UNAUTHORIZED),
  bodied('with something behind it', `${JSON.stringify(honest)} {}`, UNAUTHORIZED),
  bodied('in a list', JSON.stringify([honest])),
  bodied('that is null', 'null'),
  bodied('that is nested deep', `${'['.repeat(4_000)}${']'.repeat(4_000)}`),
  bodied('that is no JSON', "{decision: 'approve'}", UNAUTHORIZED),
  bodied('that is too long', { reason: 'x'.repeat(9_000) }, 'request_too_large'),
  message('a body that is compressed', MALFORMED, (one) => {
    one.body = gzipSync(String(one.body));
    one.headers = (headers) => [...headers, 'Content-Encoding', 'gzip'];
  }),
  message('a body that is too long and does not say so', 'request_too_large', (one) => {
    one.body = JSON.stringify({ ...honest, reason: 'x'.repeat(9_000) });
    one.headers = (headers) => [...headers, 'Transfer-Encoding', 'chunked'];
  }),
];
const OTHERS: readonly Input[] = [
  {
    fault: 'a message that is sent again',
    code: 'proof_replayed',
    control: (world) => send(world, () => {}),
    attack: async (world) => {
      const id = `msg_again_${sent++}`;
      await send(world, (one) => Object.assign(one, { id }));
      return await send(world, (one) => Object.assign(one, { id }));
    },
  },
  {
    fault: 'a body that never comes',
    code: '408',
    control: (world) => send(world, () => {}),
    attack: ({ broker }) =>
      sendBytes(
        broker,
        'POST /approvals/answers/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{',
      ),
  },
  {
    fault: 'more messages than a source may send',
    code: 'too_many_attempts',
    control: (world) => send(world, () => {}),
    attack: async ({ broker, harness }) => {
      const stands = harness.clockStandsAt;
      harness.clockStandsAt = Date.now();
      const answers = await Promise.all(
        Array.from({ length: 40 }, () =>
          ask(broker, { method: 'POST', path: '/approvals/answers/chat', headers: [], body: '{}' }),
        ),
      );
      harness.clockStandsAt = stands;
      return (
        answers.find(({ answer }) => answer.includes('too_many')) ?? { accepted: true, answer: 'all were looked at' }
      );
    },
  },
];

export const webhookAnswers: HostileArea<WebhookWorld> = {
  name: 'broker: answers of webhooks',
  open,
  close: async ({ harness, keys }) => {
    await harness.stop();
    rmSync(keys, { recursive: true });
  },
  inputs: [...SIGNATURES, ...PATHS, ...BODIES, ...OTHERS],
};
