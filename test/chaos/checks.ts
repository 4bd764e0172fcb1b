/** Conditions that must hold after chaos. Each finding is a sentence; the goal is none. */

import { REVOCATIONS } from '@meshpass/broker/mesh/reconcile/revocation/deny-policy';
import type { OperatorCall } from '@meshpass/cli/operator/client';
import { RELAY_ACCOUNT } from '@meshpass/identity';
import type { Lab } from '@meshpass/lab';
import { startAdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { Meshpass } from '@meshpass/lab/meshpass';
import type { Report } from './crowd.ts';
import { now } from './disasters.ts';
import type { Crowd } from './drive.ts';
import {
  type Event,
  GRACE_SECONDS,
  LEASE_SECONDS,
  lanes,
  type Ordered,
  type Present,
  pause,
  type Span,
  type Unanswered,
} from './terms.ts';
import { judgeTraffic, type Row } from './traffic.ts';

export interface Checked {
  readonly problems: readonly string[];
  /** Checked objects, with their number. */
  readonly checked: Readonly<Record<string, number>>;
  /** Failures that members met, excused or not: source and code. */
  readonly refusals: Readonly<Record<string, number>>;
}

export interface Aftermath {
  readonly lab: Lab;
  readonly meshpass: Meshpass;
  readonly operator: OperatorCall;
  readonly crowds: readonly Crowd[];
  readonly present: ReadonlyMap<string, Present>;
  readonly ordered: Ordered;
  readonly unanswered: Unanswered;
  /** Disasters with their times. */
  readonly events: readonly Event[];
  readonly edgeDown: readonly Span[];
  readonly random: () => number;
  readonly progress: (line: string) => void;
}

const SETTLE_SECONDS = LEASE_SECONDS + GRACE_SECONDS + 60;
const MISUSE_AT_ONCE = 8;
/** Number of live sessions whose certificates are also presented directly at the pod, so that a refusal there is significant. */
const LIVE_INSIDE = 3;
const DEAD_AT_BROKER = new Set(['session_closed', 'session_unknown']);
const ORDERS = 'orders.shop.svc.cluster.local:8080';

export async function check(world: Aftermath): Promise<Checked> {
  const { lab, operator, crowds, present, ordered, unanswered, edgeDown, progress } = world;
  const problems: string[] = [];
  const checked: Record<string, number> = {};
  const all = async (): Promise<Report> => {
    const reports = await Promise.all(crowds.map((crowd) => crowd.report()));
    return {
      members: Object.assign({}, ...reports.map(({ members }) => members)),
      sessions: Object.assign({}, ...reports.map(({ sessions }) => sessions)),
      refusals: sum(reports.map(({ refusals }) => refusals)),
    };
  };
  const live = async () => {
    const { sessions } = (await operator('GET', '/admin/sessions')) as { sessions: { id: string }[] };
    return new Set(sessions.map(({ id }) => id));
  };

  // Vanished members' sessions lapse; members that lost a session have another one; there are no other sessions.
  const wanted = async () => new Set(Object.values((await all()).members));
  const agree = await within(SETTLE_SECONDS, async () =>
    same(await live().catch(() => new Set<string>()), await wanted()),
  );
  const [alive, held] = [await live(), await wanted()];
  checked['live sessions'] = alive.size;
  if (!agree) {
    for (const id of alive) if (!held.has(id)) problems.push(`session ${id} is live, but no member has it`);
    for (const id of held) if (!alive.has(id)) problems.push(`an agent holds session ${id}, which is not live`);
  }
  if (held.size !== present.size) problems.push(`${present.size} members, but ${held.size} sessions`);

  progress('every live session works by itself');
  const before = (await all()).sessions;
  const works = async () => {
    const { sessions } = await all();
    return [...held].filter((id) => (sessions[id]?.calls ?? 0) <= (before[id]?.calls ?? 0));
  };
  await within(30, async () => (await works()).length === 0);
  for (const id of await works()) problems.push(`session ${id} is live and does not work`);

  progress('no live session was cut but by its edge, and none ended without a cause');
  const rows = await auditRows(operator);
  const { sessions } = await all();
  const over = Object.keys(sessions).filter((id) => !alive.has(id));
  checked['sessions that ended'] = over.length;
  const traffic = judgeTraffic({ rows, sessions, over, ordered, unanswered, edgeDown, events: world.events });
  problems.push(...traffic.problems);
  Object.assign(checked, traffic.checked);

  progress(`the credentials of ${over.length} sessions that ended are used again at broker and edge`);
  const queue = [...over];
  await lanes(MISUSE_AT_ONCE, queue.length, async () => {
    const id = queue.pop()!;
    const crowd = await holderOf(crowds, id);
    const used = await crowd.misuse(id);
    for (const [what, code] of Object.entries(used)) {
      checked[`refused: ${what}`] = (checked[`refused: ${what}`] ?? 0) + 1;
      const right =
        what === 'edge' ? code === 'tunnel_session_unknown' || code === 'expired' : DEAD_AT_BROKER.has(code);
      if (!right) problems.push(`the ${what} of session ${id}, which has ended: ${code}`);
    }
  });

  progress('nothing is left in Kubernetes, and the mesh refuses from inside, too');
  const accountsOf = async () => new Set(await accounts(lab));
  const expected = new Set<string>();
  for (const id of held) for (const name of await accountNames(crowds, id)) expected.add(name);
  await within(60, async () => same(await accountsOf(), expected));
  const left = await accountsOf();
  checked.ServiceAccounts = left.size;
  for (const name of left)
    if (!expected.has(name)) problems.push(`ServiceAccount ${name} is left, and its session has ended`);
  for (const name of expected)
    if (!left.has(name)) problems.push(`ServiceAccount ${name} of a live session is missing`);
  problems.push(...(await fromInside(world, over, [...held], checked)));

  progress('the audit log verifies');
  const argv = ['meshpass', 'audit', 'verify', '--operator', world.meshpass.operatorUrl];
  const env = { MESHPASS_OPERATOR_TOKEN: world.meshpass.operatorToken };
  const verified = await lab.exec('github', argv, { env });
  checked['audit rows'] = rows.length;
  if (verified.code !== 0) problems.push(`the audit log does not verify: ${verified.stdout}${verified.stderr}`);
  return { problems, checked, refusals: (await all()).refusals };
}

/** Calls the pod directly, from a place that no workspace has. It accepts live sessions there, so a refusal means something. */
async function fromInside(
  { lab, meshpass, crowds, random }: Aftermath,
  over: readonly string[],
  live: readonly string[],
  checked: Record<string, number>,
): Promise<string[]> {
  const adversary = startAdversarialClient(lab, 'github', meshpass.brokerUrl);
  const problems: string[] = [];
  const pod = { host: lab.hosts.orders!.ip, port: 8080 };
  const denied = JSON.stringify(
    await lab.kubernetes.call(
      'GET',
      `/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies?labelSelector=${encodeURIComponent(REVOCATIONS)}`,
    ),
  );
  const attempt = async (id: string) => {
    const stolen = await (await holderOf(crowds, id)).steal(id);
    const [grant, svid] = Object.entries(stolen.svids)[0]!;
    if (svid.notAfter < now() + 5_000) return undefined;
    const one = adversary.as(id);
    await one.take(stolen);
    const send = `GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\nx-meshpass-token: ${stolen.identityToken}\r\n\r\n`;
    const report = await one.tunnel({ target: ORDERS, grant, straightTo: pod, send });
    return { status: /^HTTP\/1\.1 (\d{3})/.exec(report.answer ?? '')?.[1] ?? report.stage, spiffeId: svid.spiffeId };
  };
  try {
    for (const id of over) {
      const seen = await attempt(id);
      if (!seen) continue;
      checked['refused: sidecar'] = (checked['refused: sidecar'] ?? 0) + 1;
      if (seen.status === '200') problems.push(`a sidecar accepts the certificate of session ${id}, which has ended`);
      if (!denied.includes(`"${seen.spiffeId.slice('spiffe://'.length)}"`))
        problems.push(`no root DENY contains ${seen.spiffeId}, whose session has ended`);
    }
    for (const id of sample(live, random).slice(0, LIVE_INSIDE)) {
      const seen = await attempt(id);
      if (seen && seen.status !== '200')
        problems.push(`a sidecar refuses session ${id}, which is live: ${seen.status}`);
    }
  } finally {
    adversary.end();
  }
  return problems;
}

async function auditRows(operator: OperatorCall): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const page = (await operator('GET', `/audit?after=${rows.at(-1)?.seq ?? 0}&limit=1000`)) as { rows: Row[] };
    if (page.rows.length === 0) return rows;
    rows.push(...page.rows);
  }
}

/** ServiceAccounts of sessions: the relay's of each grant stays. */
async function accounts(lab: Lab): Promise<string[]> {
  const path = '/api/v1/serviceaccounts?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';
  const { items } = (await lab.kubernetes.call('GET', path)) as {
    items: { metadata: { name: string; namespace: string } }[];
  };
  const ofSessions = items.filter(({ metadata }) => metadata.name !== RELAY_ACCOUNT);
  return ofSessions.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}

async function accountNames(crowds: readonly Crowd[], id: string): Promise<string[]> {
  const { svids } = await (await holderOf(crowds, id)).steal(id);
  return Object.values(svids).map(({ spiffeId }) => spiffeId.replace(/^.*\/ns\/(.*)\/sa\//, '$1/'));
}

async function holderOf(crowds: readonly Crowd[], id: string): Promise<Crowd> {
  for (const crowd of crowds) if (await crowd.holds(id)) return crowd;
  throw new Error(`no member ever had session ${id}`);
}

function sample(ids: readonly string[], random: () => number): string[] {
  return ids
    .map((id) => ({ id, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ id }) => id);
}

async function within(seconds: number, isTrue: () => Promise<boolean>): Promise<boolean> {
  const end = now() + seconds * 1000;
  while (now() < end) {
    if (await isTrue()) return true;
    await pause(500);
  }
  return false;
}

function sum(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const one of counts) for (const [what, count] of Object.entries(one)) total[what] = (total[what] ?? 0) + count;
  return Object.fromEntries(Object.entries(total).sort());
}

function same(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((one) => b.has(one));
}
