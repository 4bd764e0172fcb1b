/** Queues of webhooks: a dead one delays no other, messages of a request keep their order, and dropped ones are counted. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { answer, askAnew, openWorkspace } from '../harness/approval/approvals.ts';
import { type Harness, startHarness } from '../harness/broker.ts';

const file = (...names: string[]) => `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}}}
approvals: {webhooks: {${names.map((name) => `${name}: {url: 'https://${name}.example/hook', speaksFor: idp}`).join(', ')}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp, when: 'subject == "idp:bob"'}, for: 30m, emergency: {within: 24h}}`;

interface Message {
  readonly webhook: string;
  readonly type: string;
  readonly id: string;
  readonly state: string;
}

describe('messages to webhooks', () => {
  const keys = mkdtempSync(join(tmpdir(), 'meshpass-webhooks-'));
  let harness: Harness;
  const tried: Message[] = [];
  /** How the other side answers. */
  let take: (message: Message) => number | Promise<number> = () => 200;
  const use = (...names: string[]) => {
    const { grants, trust, webhooks } = parseAccess(file(...names), 'access.yaml');
    harness.mesh.setAccess(grants, [], trust, [], { webhooks: webhooks! });
  };
  const of = (webhook: string) => tried.filter((message) => message.webhook === webhook);
  const counted = async (webhook: string, outcome: string) => {
    const { text } = await harness.operatorCall('/metrics');
    const labels = `webhook="${webhook}",outcome="${outcome}"`;
    const line = text.split('\n').find((one) => one.startsWith(`meshpass_approval_webhooks_total{${labels}}`));
    return line && Number(line.split(' ')[1]);
  };

  beforeAll(async () => {
    for (const name of ['chat', 'dead', 'gone'])
      writeFileSync(join(keys, name), `whsec_${Buffer.from('k'.repeat(32)).toString('base64')}\n`, { mode: 0o600 });
    const play: typeof fetch = async (url, init) => {
      const { type, data } = JSON.parse(String(init?.body));
      const message = { webhook: new URL(String(url)).hostname.split('.')[0]!, type, id: data.id, state: data.state };
      tried.push(message);
      return new Response(null, { status: await take(message) });
    };
    harness = await startHarness({ parts: () => ({ authorize, fetch: play }), config: { approvalWebhookKeys: keys } });
  });
  beforeEach(() => {
    take = () => 200;
    harness.clockAhead += 200_000;
    tried.length = 0;
  });
  afterAll(async () => {
    await harness?.stop();
    rmSync(keys, { recursive: true });
  });

  it('wait for no other webhook: of one that does not answer, at most five are under way, and the others get theirs', async () => {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    take = async ({ webhook }) => {
      if (webhook === 'dead') await released;
      return 200;
    };
    use('chat', 'dead');
    for (let n = 0; n < 12; n++) await askAnew(harness, `person-${n}`);
    await expect.poll(() => of('chat').length).toBe(12);
    expect(of('dead').length).toBeGreaterThan(0);
    expect(of('dead').length).toBeLessThanOrEqual(5);
    release();
    await expect.poll(() => of('dead').length).toBe(12);
  });

  it("keep the order of a request's events, and wait for no other request", async () => {
    use('chat');
    let isBack = false;
    let blocked = '';
    take = ({ id }) => {
      blocked ||= id;
      return id !== blocked || isBack ? 200 : 503;
    };
    const { id } = await askAnew(harness, 'alice');
    const waiting = await askAnew(harness, 'carol');
    await expect.poll(() => blocked).toBe(id);
    const bob = await openWorkspace(harness, 'bob');
    for (const one of [blocked, waiting.id]) expect((await answer(harness, bob, one)).json.state, one).toBe('approved');
    const states = (request: string) => of('chat').flatMap((one) => (one.id === request ? [one.state] : []));
    await expect.poll(() => states(waiting.id)).toEqual(['pending', 'approved']);
    expect(new Set(states(blocked))).toEqual(new Set(['pending']));
    isBack = true;
    harness.clockAhead += 10_000;
    await expect.poll(() => states(blocked).at(-1)).toBe('approved');
    expect(
      states(blocked)
        .slice(0, -1)
        .every((state) => state === 'pending'),
    ).toBe(true);
  });

  it('are given up after six hours, and counted', async () => {
    use('chat');
    take = () => 503;
    const { id } = await askAnew(harness, 'alice');
    await expect.poll(() => of('chat').some((message) => message.id === id)).toBe(true);
    expect(await counted('chat', 'given_up')).toBe(0);
    harness.clockAhead += 6 * 3_600_000 + 1_000;
    await expect.poll(() => counted('chat', 'given_up')).toBeGreaterThan(0);
    take = () => 200;
    tried.length = 0;
    const next = await askAnew(harness, 'alice');
    await expect.poll(() => of('chat').some((message) => message.id === next.id)).toBe(true);
    expect(of('chat').filter((message) => message.id === id && message.type === 'approval.requested')).toEqual([]);
  });

  it('of an emergency are kept for as long as it may be reviewed in time', async () => {
    use('chat');
    take = () => 503;
    const { id } = await askAnew(harness, 'erin', {}, '/approvals/emergency');
    const other = await askAnew(harness, 'frank');
    const alarms = () => tried.filter((message) => message.id === id && message.type === 'approval.emergency').length;
    await expect.poll(alarms).toBeGreaterThan(0);
    const before = Number((await counted('chat', 'given_up')) ?? 0);
    harness.clockAhead += 20 * 3_600_000;
    // Messages of the unanswered request are dropped, which must not drop those of the emergency.
    await expect.poll(() => counted('chat', 'given_up')).toBeGreaterThan(before);
    tried.length = 0;
    take = () => 200;
    harness.clockAhead += 400_000;
    await expect.poll(alarms).toBe(1);
    expect(of('chat').some((message) => message.id === other.id && message.type === 'approval.requested')).toBe(false);
    take = () => 503;
    const late = await askAnew(harness, 'gina', {}, '/approvals/emergency');
    const ofLate = () =>
      tried.filter((message) => message.id === late.id && message.type === 'approval.emergency').length;
    await expect.poll(ofLate).toBeGreaterThan(0);
    harness.clockAhead += 25 * 3_600_000;
    await expect
      .poll(() => of('chat').some((message) => message.id === late.id && message.state === 'ended'))
      .toBe(true);
    tried.length = 0;
    harness.clockAhead += 400_000;
    take = () => 200;
    await expect.poll(() => of('chat').filter((message) => message.id === late.id).length).toBeGreaterThan(0);
    expect(ofLate()).toBe(0);
  });

  it('are dropped and counted if the access file no longer has the webhook', async () => {
    use('chat', 'gone');
    take = ({ webhook }) => (webhook === 'gone' ? 503 : 200);
    const { id } = await askAnew(harness, 'alice');
    await expect.poll(() => of('gone').length).toBeGreaterThan(0);
    use('chat');
    harness.clockAhead += 10_000;
    await expect.poll(() => counted('gone', 'dropped')).toBeGreaterThan(0);
    tried.length = 0;
    take = () => 200;
    use('chat', 'gone');
    const next = await askAnew(harness, 'carol');
    await expect.poll(() => of('gone').map((message) => message.id)).toContain(next.id);
    expect(of('gone').map((message) => message.id)).not.toContain(id);
  });
});
