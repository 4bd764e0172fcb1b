/** The active causes of bench/ends/bench.ts: how each is made, and from which instant its effect is counted. */
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { Deaths, Proof } from './client.ts';
import {
  EVENT_TOKEN,
  HELD_GRANT,
  hold,
  liveSessions,
  now,
  openSessions,
  type Session,
  type Times,
  timeDeaths,
  timesOf,
  type World,
} from './world.ts';

export interface ActiveCause {
  readonly cause: string;
  readonly from: string;
  /** Event from which `more` of a run counts. */
  readonly extra?: string;
  readonly run: (world: World, runs: number) => Promise<{ readonly times: Times; readonly more?: Times }>;
}

interface Round {
  readonly at: number;
  readonly deaths: readonly Deaths[];
}

/** Answers of GitHub in the first moments of a session are ignored. */
const SETTLED_MS = 10_500;
/** Sessions that one act ends together. */
const TOGETHER = 10;
/** Waiting for a limit costs nothing but time. */
const LIMITED_TOGETHER = 25;

export const ACTIVE_CAUSES: readonly ActiveCause[] = [
  one('goodbye', 'the request', ({ workspaces }, { as }) => workspaces.order({ do: 'goodbye', as })),
  one('rebuild', "the new session's request", async ({ workspaces, players }, { as, space }) => {
    const { token, name } = await players.github.startCodespace(space.name);
    return await workspaces.order({ do: 'rebuild', as, proof: { token, name } satisfies Proof });
  }),
  one('operator, by session', 'the request', (world, { id }) => close(world, { id })),
  one('operator, by user', 'the request', (world, { login }) => close(world, { user: login })),
  one('operator, by Codespace', 'the request', (world, { space }) => close(world, { workspace: space.name })),
  together('operator, by grant', 'the request', (world) => close(world, { grant: HELD_GRANT })),
  settled('Codespace stopped, by audit-log stream', "the event's arrival", async (world, { space, login }) => {
    await world.players.github.setCodespaceState(space.name, 'Shutdown');
    return await tellEvent(world, { action: 'codespaces.suspend_environment', name: space.name, owner: login });
  }),
  settledByBroker('Codespace stopped, by sweep', 'the change at GitHub, sweep every 1 s', (world, { space }) =>
    world.players.github.setCodespaceState(space.name, 'Shutdown'),
  ),
  settled('left the team, by audit-log stream', "the event's arrival", async (world, { login }) => {
    await world.players.github.removeFromTeam('acme/payments', login);
    return await tellEvent(world, { action: 'team.remove_member', org: 'acme', team: 'acme/payments', user: login });
  }),
  settledByBroker('left the team, by look', 'the change at GitHub, sweep every 2 s', (world, { login }) =>
    world.players.github.removeFromTeam('acme/payments', login),
  ),
  byAccessFile('grant removed', (text) => text.replaceAll('repository: acme/payments-*', 'repository: acme/nothing-*')),
  byAccessFile('narrowed: one grant of two removed', (text) => {
    const [before, after] = [text.indexOf(`  ${HELD_GRANT}:`), text.indexOf('  reports-dev:')];
    return text.slice(0, before) + text.slice(after);
  }),
  byAccessFile('issuer removed', (text) => text.replace('organization: acme', 'organization: acme-labs')),
  {
    cause: 'hard limit',
    from: 'the limit',
    run: async (world, runs) => {
      const rounds: Round[] = [];
      for (let left = runs; left > 0; left -= LIMITED_TOGETHER) {
        const sessions = await openSessions(world, Math.min(LIMITED_TOGETHER, left), 'acme/orders');
        await hold(world, sessions, 'brief-dev');
        const limits = await expiries(world, sessions);
        const { deaths } = await timeDeaths(world, sessions, async () => 0);
        rounds.push(...sessions.map(({ id }, n) => ({ at: limits.get(id)! * 1000, deaths: [deaths[n]!] })));
      }
      return { times: timesOf(rounds) };
    },
  },
];

type Act = (world: World, session: Session) => Promise<number>;

/** Opens one session after the other. */
function one(cause: string, from: string, act: Act): ActiveCause {
  return { cause, from, run: async (world, runs) => ({ times: timesOf(await each(world, runs, act)) }) };
}

function settled(cause: string, from: string, act: Act): ActiveCause {
  return { cause, from, run: async (world, runs) => ({ times: timesOf(await each(world, runs, act, SETTLED_MS)) }) };
}

/** Counted from the broker's decision (its audit row), and from the change that it had to notice. */
function settledByBroker(
  cause: string,
  change: string,
  act: (world: World, session: Session) => Promise<unknown>,
): ActiveCause {
  return {
    cause,
    from: "the broker's decision",
    extra: change,
    run: async (world, runs) => {
      const decided: number[] = [];
      const changed = await each(
        world,
        runs,
        async (_, session) => {
          const at = now();
          await act(world, session);
          return at;
        },
        SETTLED_MS,
        async ({ id }) => {
          decided.push(await closedAt(world, id));
        },
      );
      return { times: timesOf(changed.map((round, n) => ({ ...round, at: decided[n]! }))), more: timesOf(changed) };
    },
  };
}

async function each(
  world: World,
  runs: number,
  act: Act,
  settleMs = 0,
  after: (session: Session) => Promise<void> = async () => {},
): Promise<Round[]> {
  const sessions = await openSessions(world, runs);
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const rounds: Round[] = [];
  for (const session of sessions) {
    await hold(world, [session]);
    rounds.push(await timeDeaths(world, [session], () => act(world, session)));
    await after(session);
  }
  return rounds;
}

/** A few at a time, by one act. */
function together(
  cause: string,
  from: string,
  act: (world: World) => Promise<number>,
  after: (world: World) => Promise<void> = async () => {},
): ActiveCause {
  return {
    cause,
    from,
    run: async (world, runs) => {
      const rounds: Round[] = [];
      for (let left = runs; left > 0; left -= TOGETHER) {
        const sessions = await openSessions(world, Math.min(TOGETHER, left));
        await hold(world, sessions);
        rounds.push(await timeDeaths(world, sessions, () => act(world)));
        await after(world);
      }
      return { times: timesOf(rounds) };
    },
  };
}

function byAccessFile(cause: string, change: (text: string) => string): ActiveCause {
  let before = '';
  return together(
    cause,
    "the file's change",
    async ({ meshpass }) => {
      before = readFileSync(meshpass.accessFile, 'utf8');
      const after = change(before);
      if (after === before) throw new Error(`${cause}: the access file was not changed`);
      const at = now();
      write(meshpass.accessFile, after);
      return at;
    },
    async (world) => {
      for (const { id } of await liveSessions(world)) await close(world, { id });
      write(world.meshpass.accessFile, before);
      await untilInForce(world);
    },
  );
}

/** Replaces a file atomically, like kubelet and editors. */
function write(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function untilInForce(world: World): Promise<void> {
  const [login] = world.developers;
  await world.players.github.addToTeam('acme/payments', login!);
  const deadline = performance.now() + 30_000;
  for (;;) {
    const space = await world.players.github.createCodespace({
      owner: login!,
      repository: 'acme/payments-api',
      host: world.host,
    });
    const opened = await world.workspaces
      .order<{ grants: string[] }>({
        do: 'open',
        as: space.name,
        broker: world.meshpass.brokerUrl,
        heartbeatMs: 5_000,
        proof: { token: space.token, name: space.name },
      })
      .catch(() => undefined);
    if (opened) await world.workspaces.order({ do: 'goodbye', as: space.name });
    if (opened?.grants.length === 2) return;
    if (performance.now() > deadline) throw new Error('the access file did not come into force again');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function close({ operator }: World, selector: Readonly<Record<string, string>>): Promise<number> {
  const at = now();
  const { closed } = (await operator('POST', '/admin/sessions/close', { ...selector, reason: 'bench' })) as {
    closed: string[];
  };
  if (closed.length === 0) throw new Error(`nothing was closed by ${JSON.stringify(selector)}`);
  return at;
}

async function tellEvent({ lab, meshpass }: World, event: object): Promise<number> {
  const at = now();
  const { hostname: servername, port } = new URL(meshpass.brokerUrl);
  const options = {
    host: lab.hosts.meshpass!.ip,
    servername,
    port,
    ca: readFileSync(lab.testCa),
    method: 'POST',
    path: '/services/collector',
    headers: { authorization: `Splunk ${EVENT_TOKEN}`, 'content-type': 'application/json' },
  };
  const sent = request(options).end(JSON.stringify({ event }));
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  if (answer.statusCode !== 200) throw new Error(`the broker answered the event with ${answer.statusCode}`);
  return at;
}

async function expiries(world: World, sessions: readonly Session[]): Promise<ReadonlyMap<string, number>> {
  const all = new Map((await liveSessions(world)).map((listed) => [listed.id, listed.expires_at]));
  for (const { id } of sessions) if (!all.has(id)) throw new Error(`session ${id} ended too soon`);
  return all;
}

/** Instant of the decision in its audit row. */
async function closedAt({ operator }: World, id: string): Promise<number> {
  for (;;) {
    const { rows } = (await operator('GET', `/audit?session=${id}&limit=1000`)) as {
      rows: { action: string; outcome: string; time: string }[];
    };
    const row = rows.find(({ action, outcome }) => action === 'session.close' && outcome === 'ended');
    if (row) return Date.parse(row.time);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
