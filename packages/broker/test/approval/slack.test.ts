/** deploy/slack/approvals.ts between a whole broker and a Slack that the test plays. */
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createSlackApprovals } from '../../../../deploy/slack/approvals.ts';
import { asSession, type Enrolled, enrol, type Harness, newKey, startHarness } from '../harness/broker.ts';

const FILE = `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}}}
approvals: {webhooks: {chat: {url: 'https://chat.example/meshpass', speaksFor: idp}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp, when: 'subject == "idp:bob"'}, for: 30m, emergency: {for: 20m, within: 24h}}`;
const SECRET = `whsec_${Buffer.from('s'.repeat(32)).toString('base64')}`;
const SIGNING = 'slack signs with this';

interface Sent {
  readonly url: string;
  // biome-ignore lint/suspicious/noExplicitAny: what Slack is sent has as many forms as methods
  readonly body: any;
}

let harness: Harness;
let program: Server;
const keys = mkdtempSync(join(tmpdir(), 'meshpass-slack-'));
const slack: Sent[] = [];
const url = () => `http://127.0.0.1:${(program.address() as AddressInfo).port}`;

beforeAll(async () => {
  writeFileSync(join(keys, 'chat'), `${SECRET}\n`, { mode: 0o600 });
  const toBroker = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = init.headers as Record<string, string>;
    const { status, json } = await harness.call({ method: 'POST', path, headers, body: String(init.body) });
    return new Response(JSON.stringify(json), { status });
  };
  program = createSlackApprovals({
    broker: 'https://broker.example',
    webhook: 'chat',
    webhookSecret: SECRET,
    channel: 'C1',
    slackToken: 'xoxb-1',
    slackSigningSecret: SIGNING,
    people: { UBOB: 'bob', UALICE: 'alice' },
    fetch: (async (to: string, init: RequestInit) => {
      const { hostname, pathname } = new URL(to);
      if (hostname === 'broker.example') return await toBroker(pathname, init);
      slack.push({ url: to, body: JSON.parse(String(init.body)) });
      return Response.json({ ok: true, ts: `17.${slack.length}` });
    }) as typeof fetch,
  }).listen(0, '127.0.0.1');
  const parts = () => ({
    authorize,
    fetch: ((to, init) => fetch(String(to).replace('https://chat.example', url()), init)) as typeof fetch,
  });
  harness = await startHarness({ parts, config: { approvalWebhookKeys: keys } });
  const { grants, trust, webhooks } = parseAccess(FILE, 'access.yaml');
  harness.mesh.setAccess(grants, [], trust, [], { webhooks: webhooks! });
});
afterAll(async () => {
  await harness?.stop();
  program?.close();
  rmSync(keys, { recursive: true });
});

/** Alice asks, or takes the grant in an emergency. @returns the request, once Slack shows it */
async function asked(path = '/approvals'): Promise<{ readonly id: string; readonly who: Enrolled }> {
  slack.length = 0;
  const key = newKey();
  const proof = await harness.idp.prove('alice', { workspace: `w:${crypto.randomUUID()}` });
  const who = { ...(await enrol(harness, 'alice', key, proof)).json, key } as Enrolled;
  const { json } = await asSession(harness, who, {
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ grant: 'prod', reason: '<!channel> INC-1' }),
  });
  await expect.poll(() => slack.length).toBe(1);
  return { id: json.id, who };
}

async function click(id: string, user: string, { decision = 'approve', signing = SIGNING, age = 0 } = {}) {
  const answered = { type: 'block_actions', user: { id: user }, actions: [{ action_id: decision, value: id }] };
  const payload = JSON.stringify({ ...answered, response_url: 'https://hooks.slack.com/actions/1' });
  const body = new URLSearchParams({ payload }).toString();
  const at = Math.floor(Date.now() / 1000) - age;
  const signature = `v0=${createHmac('sha256', signing).update(`v0:${at}:${body}`).digest('hex')}`;
  const headers = { 'x-slack-request-timestamp': String(at), 'x-slack-signature': signature };
  return (await fetch(`${url()}/slack`, { method: 'POST', headers, body })).status;
}

const said = () =>
  slack.filter(({ url: to }) => to.startsWith('https://hooks.slack.com/')).map(({ body }) => body.text);

it('shows a request with two buttons, as plain text, and adds the grant when an approver clicks', async () => {
  const { id, who } = await asked();
  expect(slack[0]).toMatchObject({ url: 'https://slack.com/api/chat.postMessage', body: { channel: 'C1' } });
  const [section, buttons] = slack[0]!.body.blocks;
  expect(section.text).toEqual({ type: 'plain_text', text: 'alice asks for prod for 30 minutes: <!channel> INC-1' });
  expect(buttons.elements.map((one: { value: string }) => one.value)).toEqual([id, id]);
  expect(await click(id, 'UBOB')).toBe(200);
  await expect.poll(said).toEqual(['Your answer counts.']);
  const { json } = await asSession(harness, who, { path: '/services' });
  expect(json.services.map((one: { grant: string }) => one.grant)).toContain('prod');
  await expect.poll(() => slack.find(({ url: to }) => to.endsWith('/chat.update'))?.body.ts).toBe('17.1');
});

it('denies', async () => {
  const { id } = await asked();
  await click(id, 'UBOB', { decision: 'deny' });
  await expect.poll(() => JSON.stringify(slack.at(-1)?.body)).toContain('(denied)');
});

it('shows an emergency as an alarm with two buttons, and signs the review of the person who clicks', async () => {
  const { id, who } = await asked('/approvals/emergency');
  const { text: title, blocks } = slack[0]!.body;
  expect(title).toBe('An emergency: prod was taken without an approval');
  expect(blocks[0].text).toEqual({
    type: 'plain_text',
    text: expect.stringMatching(
      /^alice took prod in an emergency, for 20 minutes: <!channel> INC-1\. Somebody else reviews it until \S+ \S+ UTC\.$/,
    ),
  });
  const buttons = (block: { elements: { action_id: string; value: string }[] }) =>
    block.elements.map((one) => [one.action_id, one.value]);
  expect(buttons(blocks[1])).toEqual([
    ['accept', id],
    ['object', id],
  ]);
  await click(id, 'UALICE', { decision: 'accept' });
  await expect.poll(said).toEqual([expect.stringContaining('your own')]);
  const updated = () => slack.findLast(({ url: to }) => to.endsWith('/chat.update'))?.body.blocks;
  await click(id, 'UBOB', { decision: 'object' });
  await expect.poll(() => updated()?.[0].text.text).toContain('Reviewed (objected).');
  expect(buttons(updated()[1])).toEqual([['accept', id]]);
  const { json } = await asSession(harness, who, { path: '/services' });
  expect(json.services.map((one: { grant: string }) => one.grant)).not.toContain('prod');
  await click(id, 'UBOB', { decision: 'accept' });
  await expect.poll(() => updated()?.[0].text.text).toContain('Reviewed (accepted).');
  expect(updated()).toHaveLength(1);
  await expect.poll(said).toHaveLength(3);
});

it('reports the reason to people who may not answer, or are unknown', async () => {
  const { id } = await asked();
  await click(id, 'UALICE');
  await expect.poll(said).toEqual([expect.stringContaining('your own request')]);
  await click(id, 'UNOBODY');
  await expect.poll(said).toEqual([expect.anything(), expect.stringContaining('Nobody has written down who you are')]);
});

it('refuses a click that Slack did not sign, or signed long ago, and a message that the broker did not sign', async () => {
  const { id } = await asked();
  expect(await click(id, 'UBOB', { signing: 'another' })).toBe(401);
  expect(await click(id, 'UBOB', { age: 400 })).toBe(401);
  expect((await fetch(`${url()}/slack`, { method: 'POST', body: '' })).status).toBe(401);
  expect((await fetch(`${url()}/meshpass`, { method: 'POST', body: '{}' })).status).toBe(502);
  expect((await fetch(`${url()}/slack`, { method: 'POST', body: 'x'.repeat(300_000) })).status).toBe(413);
  expect(slack).toHaveLength(1);
});
