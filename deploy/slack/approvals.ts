/**
 * Approvals in Slack: a small server between the broker's webhook and a Slack app. README.md says how to set it up. Take it as
 * it is, or as the beginning of one for another tool.
 */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { Webhook } from 'standardwebhooks';

export interface Settings {
  /** Public URL of the broker. */
  readonly broker: string;
  /** Name of the webhook in the access file. */
  readonly webhook: string;
  /** `whsec_...`, as the broker has it. */
  readonly webhookSecret: string;
  readonly slackToken: string;
  readonly slackSigningSecret: string;
  /** Id of the channel. */
  readonly channel: string;
  /** Slack user id to the id of the person at the issuer that the webhook speaks for. */
  readonly people: Readonly<Record<string, string>>;
  readonly fetch?: typeof fetch;
}

/** Fields of a broker's message that are used. */
interface Told {
  readonly type: string;
  readonly data: {
    readonly id: string;
    readonly grant: string;
    readonly state: string;
    readonly person: { readonly login: string };
    readonly seconds: number;
    readonly reason?: string;
    /** Present: it was taken without an approval. */
    readonly emergency?: { readonly state: string; readonly review_by: number };
  };
}

/** Fields of a click that are used. */
interface Click {
  readonly type: string;
  readonly user: { readonly id: string };
  readonly actions?: readonly { readonly action_id: string; readonly value: string }[];
  readonly response_url?: string;
}

const MAX_BODY = 256 * 1024;
/** Seconds. */
const OLDEST_CLICK = 300;
/** Requests whose message in the channel is remembered. */
const MAX_MESSAGES = 5_000;

/** @returns the server, not listening yet: `POST /meshpass` is for the broker, `POST /slack` for Slack */
export function createSlackApprovals(settings: Settings): Server {
  const { broker, webhook, webhookSecret, slackToken, slackSigningSecret, channel, people } = settings;
  const call = settings.fetch ?? fetch;
  const mesh = new Webhook(webhookSecret);
  /** Timestamp of Slack's message, by request, so that a repeated event is shown once. */
  const shown = new Map<string, Promise<string>>();

  async function slack(method: string, body: object): Promise<string> {
    const headers = { 'content-type': 'application/json; charset=utf-8', authorization: `Bearer ${slackToken}` };
    const answer = await call(`https://slack.com/api/${method}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    const { ok, error, ts } = (await answer.json()) as { ok: boolean; error?: string; ts?: string };
    if (!ok) throw new Error(`Slack refuses ${method}: ${error}`);
    return ts ?? '';
  }

  async function show(data: Told['data']) {
    const { id } = data;
    const { title, text, decisions } = data.emergency ? alarmOf(data, data.emergency) : requestOf(data);
    const button = (decision: string) => ({
      type: 'button',
      action_id: decision,
      value: id,
      text: { type: 'plain_text', text: decision },
    });
    // Plain text: what people wrote is no markup.
    const said = { type: 'section', text: { type: 'plain_text', text: text.slice(0, 3_000) } };
    const answers = { type: 'actions', elements: decisions.map(button) };
    const message = { channel, text: title, blocks: decisions.length > 0 ? [said, answers] : [said] };
    const before = shown.get(id);
    if (before !== undefined) return await slack('chat.update', { ...message, ts: await before });
    const posted = slack('chat.postMessage', message);
    shown.set(id, posted);
    posted.catch(() => shown.delete(id));
    if (shown.size > MAX_MESSAGES) shown.delete(shown.keys().next().value!);
    return await posted;
  }

  /** Throws if it is not signed, or Slack does not accept it; the broker then sends it again. */
  async function fromBroker(headers: IncomingHttpHeaders, body: string): Promise<void> {
    const { type, data } = mesh.verify(body, headers as Record<string, string>) as Told;
    const isFirst = type === 'approval.requested' || type === 'approval.emergency';
    if (type === 'approval.changed' || (isFirst && !shown.has(data.id))) await show(data);
  }

  /** Signs an answer in the name of the person who clicked. @returns message for them */
  async function fromSlack({ user, actions }: Click): Promise<string> {
    const [action] = actions ?? [];
    const subject = people[user.id];
    if (subject === undefined) return 'Nobody has written down who you are: ask your platform team.';
    const body = JSON.stringify({
      request: action?.value,
      decision: action?.action_id,
      by: { subject },
      reason: `by ${user.id} in Slack`,
    });
    const [id, at] = [`msg_${randomUUID()}`, new Date()];
    const headers = {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-signature': mesh.sign(id, at, body),
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    };
    const answer = await call(`${broker}/approvals/answers/${webhook}`, { method: 'POST', headers, body });
    if (answer.ok) return 'Your answer counts.';
    const { error_description: why } = (await answer.json()) as { error_description?: string };
    return why ?? `The broker answers ${answer.status}.`;
  }

  /** https://docs.slack.dev/authentication/verifying-requests-from-slack */
  function isOfSlack(headers: IncomingHttpHeaders, body: string): boolean {
    const at = Number(headers['x-slack-request-timestamp']);
    if (!(Math.abs(Date.now() / 1000 - at) <= OLDEST_CLICK)) return false;
    const wanted = Buffer.from(
      `v0=${createHmac('sha256', slackSigningSecret).update(`v0:${at}:${body}`).digest('hex')}`,
    );
    const given = Buffer.from(String(headers['x-slack-signature'] ?? ''));
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }

  /** Replies visibly only to the person who clicked. */
  async function tell(click: Click, text: string): Promise<void> {
    if (!click.response_url?.startsWith('https://hooks.slack.com/')) return;
    const body = JSON.stringify({ response_type: 'ephemeral', replace_original: false, text });
    await call(click.response_url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  }

  return createServer(async (request, response) => {
    const end = (status: number) => response.writeHead(status).end();
    try {
      let body = '';
      request.setEncoding('utf8');
      for await (const chunk of request) {
        body += chunk;
        if (body.length > MAX_BODY) return end(413);
      }
      if (request.method === 'POST' && request.url === '/meshpass') {
        await fromBroker(request.headers, body);
        return end(204);
      }
      if (request.method !== 'POST' || request.url !== '/slack') return end(404);
      if (!isOfSlack(request.headers, body)) return end(401);
      const click = JSON.parse(new URLSearchParams(body).get('payload') ?? '{}') as Click;
      // Slack waits for three seconds only.
      end(200);
      if (click.type === 'block_actions')
        await tell(click, await fromSlack(click).catch(() => 'The broker does not answer: try again.'));
    } catch (cause) {
      console.error((cause as Error).message);
      if (!response.headersSent) end(502);
    }
  });
}

interface Shown {
  readonly title: string;
  readonly text: string;
  /** A button for each. */
  readonly decisions: readonly string[];
}

function requestOf({ grant, person, seconds, reason, state }: Told['data']): Shown {
  const isPending = state === 'pending';
  return {
    title: `A request for ${grant}`,
    text: `${person.login} asks for ${grant} for ${seconds / 60} minutes: ${reason ?? 'no reason'}${isPending ? '' : ` (${state})`}`,
    decisions: isPending ? ['approve', 'deny'] : [],
  };
}

function alarmOf(
  { grant, person, seconds, reason }: Told['data'],
  { state, review_by: until }: NonNullable<Told['data']['emergency']>,
): Shown {
  const by = new Date(until * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC');
  const said: Readonly<Record<string, string>> = {
    open: `Somebody else reviews it until ${by}`,
    overdue: `The review is overdue since ${by}: another person must review it`,
    void: 'The grant was not given after all',
  };
  // An emergency with an objection can still be accepted.
  const objected = state === 'objected' ? ['accept'] : [];
  return {
    title: `An emergency: ${grant} was taken without an approval`,
    text: `${person.login} took ${grant} in an emergency, for ${seconds / 60} minutes: ${reason ?? 'no reason'}. ${said[state] ?? `Reviewed (${state})`}.`,
    decisions: state === 'open' || state === 'overdue' ? ['accept', 'object'] : objected,
  };
}

if (import.meta.main) {
  const setting = (name: string): string => {
    const value = process.env[name];
    if (value !== undefined && value !== '') return value;
    console.error(`${name} is not set: deploy/slack/README.md has the list.`);
    process.exit(2);
  };
  createSlackApprovals({
    broker: setting('BROKER'),
    webhook: setting('WEBHOOK'),
    webhookSecret: setting('WEBHOOK_SECRET'),
    slackToken: setting('SLACK_TOKEN'),
    slackSigningSecret: setting('SLACK_SIGNING_SECRET'),
    channel: setting('SLACK_CHANNEL'),
    people: JSON.parse(readFileSync(setting('PEOPLE'), 'utf8')),
  }).listen(Number(setting('PORT')));
}
