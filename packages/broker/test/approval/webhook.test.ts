/** Webhooks: their messages and retries, and the answers that the broker accepts. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorize, parseAccess } from '@meshpass/access';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { askAnew, grantsOf } from '../harness/approval/approvals.ts';
import { type Enrolled, type Harness, startHarness } from '../harness/broker.ts';

const FILE = `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}}}
approvals: {webhooks: {chat: {url: 'https://chat.example/meshpass', speaksFor: idp}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp, when: 'subject == "idp:bob"'}, for: 30m, emergency: {}}`;
const secret = (letter: string) => `whsec_${Buffer.from(letter.repeat(32)).toString('base64')}`;
const [OLD, NEW, FOREIGN] = [secret('o'), secret('n'), secret('f')];

interface Message {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

describe('a webhook', () => {
  let harness: Harness;
  let receiver: Server;
  let keys: string;
  const received: Message[] = [];
  let status = 200;
  let sent = 0;
  const ask = (subject: string, path?: string) => askAnew(harness, subject, {}, path);
  const services = (who: Enrolled) => grantsOf(harness, who);
  const keep = (...secrets: string[]) => writeFileSync(join(keys, 'chat'), `${secrets.join('\n')}\n`, { mode: 0o600 });

  beforeAll(async () => {
    keys = mkdtempSync(join(tmpdir(), 'meshpass-webhooks-'));
    mkdirSync(keys, { recursive: true });
    receiver = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(status, { location: '/elsewhere' }).end();
    }).listen(0, '127.0.0.1');
    const to = () => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
    const parts = () => ({
      authorize,
      // The name in the access file resolves to the test's own server; everything else is real.
      fetch: ((url, init) => fetch(String(url).replace('https://chat.example', to()), init)) as typeof fetch,
    });
    harness = await startHarness({ parts, config: { approvalWebhookKeys: keys } });
  });
  beforeEach(() => {
    keep(OLD);
    status = 200;
    const { grants, trust, webhooks } = parseAccess(FILE, 'access.yaml');
    harness.mesh.setAccess(grants, [], trust, [], { webhooks: webhooks! });
    harness.clockAhead += 200_000;
    received.length = 0;
  });
  afterAll(async () => {
    await harness.stop();
    receiver.close();
    rmSync(keys, { recursive: true });
  });

  it('receives a signed request, and its outcome', async () => {
    const { id } = await ask('alice');
    await expect.poll(() => received.length).toBe(1);
    const { body, headers } = received[0]!;
    const message = new Webhook(OLD).verify(body, headers as Record<string, string>);
    expect(message).toMatchObject({
      type: 'approval.requested',
      data: { id, grant: 'prod', state: 'pending', person: { subject: 'idp:alice' }, reason: 'INC-1' },
    });
    expect(() => new Webhook(FOREIGN).verify(body, headers as Record<string, string>)).toThrow();
    expect((await answer({ request: id })).status).toBe(200);
    await expect.poll(() => received.length).toBe(2);
    expect(JSON.parse(received[1]!.body)).toMatchObject({ type: 'approval.changed', data: { id, state: 'approved' } });
  });

  it('receives an emergency, and reviews it in the name of a person in "review"', async () => {
    const { id, who } = await ask('eve', '/approvals/emergency');
    const told = (): readonly { readonly type: string }[] =>
      received.map(({ body }) => JSON.parse(body)).filter(({ data }) => data.id === id);
    await expect.poll(() => told().length).toBe(1);
    expect(told()[0]).toMatchObject({
      type: 'approval.emergency',
      data: { id, grant: 'prod', state: 'approved', reason: 'INC-1', emergency: { state: 'open', reviews: [] } },
    });
    const review = async (order: object, more: Parameters<typeof answer>[1] = {}) =>
      (await answer({ request: id, decision: 'object', reason: 'why?', ...order }, more)).json;
    expect((await review({ by: { subject: 'eve' } })).error_code).toBe('approval_own');
    expect((await review({ by: { subject: 'mallory' } })).error_code).toBe('approval_forbidden');
    expect((await review({ reason: undefined })).error_code).toBe('request_malformed');
    expect((await review({ seconds: 60 })).error_code).toBe('request_malformed');
    const done = await review({}, { messageId: 'msg_review' });
    expect(done).toMatchObject({
      state: 'revoked',
      emergency: { state: 'objected', reviews: [{ via: 'webhook chat' }] },
    });
    expect(await services(who)).toEqual(['dev']);
    expect((await review({ decision: 'accept' }, { messageId: 'msg_review' })).error_code).toBe('proof_replayed');
    expect((await review({ decision: 'accept' })).emergency.state).toBe('accepted');
    await expect.poll(() => told().length).toBeGreaterThan(1);
    expect(told()[1]).toMatchObject({ type: 'approval.changed', data: { id, state: 'revoked' } });
  });

  it('gains nothing by a message that was refused before', async () => {
    const { id, who } = await ask('fay', '/approvals/emergency');
    const object = async (subject: string, messageId: string) =>
      (await answer({ request: id, decision: 'object', reason: 'why?', by: { subject } }, { messageId })).json;
    expect((await object('fay', 'msg_refused')).error_code).toBe('approval_own');
    expect((await object('bob', 'msg_refused')).error_code).toBe('proof_replayed');
    expect(await services(who)).toEqual(['dev', 'prod']);
    expect((await object('bob', 'msg_anew')).state).toBe('revoked');
    expect(await services(who)).toEqual(['dev']);
  });

  it('receives a message again, under its id, until it accepts it, even after a restart', async () => {
    status = 503;
    const { id } = await ask('alice');
    const ids = () =>
      received.flatMap(({ body, headers }) => {
        const { type, data } = JSON.parse(body);
        return type === 'approval.requested' && data.id === id ? [headers['webhook-id']] : [];
      });
    await expect.poll(() => ids().length).toBeGreaterThan(0);
    await harness.restart();
    status = 200;
    harness.clockAhead += 10_000;
    const before = ids().length;
    await expect.poll(() => ids().length).toBeGreaterThan(before);
    expect(new Set(ids()).size).toBe(1);
  });

  it('is not followed to another place', async () => {
    status = 307;
    await ask('alice');
    await expect.poll(() => received.length).toBeGreaterThan(0);
    const { text } = await harness.operatorCall('/metrics');
    expect(text).toMatch(/meshpass_approval_webhooks_total\{webhook="chat",outcome="failed"\} [1-9]/);
  });

  it('answers for a person whom "by" names', async () => {
    const { id, who } = await ask('alice');
    const done = await answer({ request: id, reason: 'from chat' });
    expect(done.json).toMatchObject({
      state: 'approved',
      answers: [{ subject: 'idp:bob', via: 'webhook chat', reason: 'from chat' }],
    });
    expect(await services(who)).toEqual(['dev', 'prod']);
  });

  it('cannot approve for the requester, for a stranger, or for a person of another issuer', async () => {
    const { id } = await ask('alice');
    const code = async (subject: string) => (await answer({ request: id, by: { subject } })).json.error_code;
    expect(await code('alice')).toBe('approval_own');
    expect(await code('mallory')).toBe('approval_forbidden');
    expect(await code('github:1')).toBe('approval_forbidden');
  });

  it('is refused a forged, changed, old or repeated answer, and one under an unknown name', async () => {
    const { id, who } = await ask('alice');
    const code = async (order: object, more: Parameters<typeof answer>[1] = {}) =>
      (await answer(order, more)).json.error_code;
    const unauthorized = 'approval_webhook_unauthorized';
    expect(await code({ request: id }, { secret: FOREIGN })).toBe(unauthorized);
    expect(await code({ request: id }, { change: (body) => body.replace('bob', 'eve') })).toBe(unauthorized);
    expect(await code({ request: id }, { at: new Date(Date.now() - 400_000) })).toBe(unauthorized);
    expect(await code({ request: id }, { name: 'other' })).toBe(unauthorized);
    expect(await code({ request: id }, { headers: {} })).toBe(unauthorized);
    expect(await code({ request: id, more: 1 })).toBe('request_malformed');
    expect(await services(who)).toEqual(['dev']);
    // A refused answer is not accepted once it would be granted.
    expect(await code({ request: id, by: { subject: 'eve' } }, { messageId: 'msg_1' })).toBe('approval_forbidden');
    expect(await code({ request: id }, { messageId: 'msg_1' })).toBe('proof_replayed');
    expect((await answer({ request: id }, { messageId: 'msg_2' })).status).toBe(200);
    const again = (await ask('carol')).id;
    expect(await code({ request: again }, { messageId: 'msg_2' })).toBe('proof_replayed');
  });

  it('rotates its secret under load: no message fails while both exist, and the old one is refused afterwards', async () => {
    const { id } = await ask('alice');
    const statuses: string[] = [];
    const tries = async (secrets: readonly string[]) => {
      for (const one of secrets)
        statuses.push((await answer({ request: id, by: { subject: 'mallory' } }, { secret: one })).json.error_code);
    };
    await tries([OLD]);
    keep(NEW, OLD);
    await Promise.all([tries([OLD, NEW, OLD]), tries([NEW, OLD, NEW])]);
    keep(NEW);
    await tries([NEW]);
    expect(new Set(statuses)).toEqual(new Set(['approval_forbidden']));
    expect((await answer({ request: id }, { secret: OLD })).json.error_code).toBe('approval_webhook_unauthorized');
    received.length = 0;
    await ask('carol');
    await expect.poll(() => received.length).toBeGreaterThan(0);
    expect(new Webhook(NEW).verify(received[0]!.body, received[0]!.headers as Record<string, string>)).toBeDefined();
  });

  it('is bounded for a source before anything is verified', async () => {
    const codes: string[] = [];
    for (let n = 0; n < 40; n++) codes.push((await answer({}, { secret: FOREIGN })).json.error_code);
    expect(codes).toContain('too_many_attempts');
  });

  interface Signing {
    readonly secret?: string;
    readonly at?: Date;
    readonly messageId?: string;
    readonly name?: string;
    readonly change?: (body: string) => string;
    readonly headers?: Record<string, string>;
  }

  async function answer(order: object, signing: Signing = {}) {
    const { secret: key = OLD, at = new Date(), messageId = `msg_x${sent++}`, name = 'chat', change } = signing;
    const body = JSON.stringify({ decision: 'approve', by: { subject: 'bob' }, ...order });
    const headers = signing.headers ?? {
      'webhook-id': messageId,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': new Webhook(key).sign(messageId, at, body),
    };
    return await harness.call({
      method: 'POST',
      path: `/approvals/answers/${name}`,
      headers: { 'content-type': 'application/json', ...headers },
      body: change ? change(body) : body,
    });
  }
});
