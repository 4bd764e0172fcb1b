/**
 * Chaos on the lab's real mesh: many sessions with traffic open and end all the time, while the parts that they need are killed at
 * random. Afterwards checks.ts verifies everything that Meshpass promises. The order of disasters and ends
 * follows from the seed; how they meet is up to the machine.
 */
import { fileURLToPath } from 'node:url';
import { createOperatorClient } from '@meshpass/cli/operator/client';
import type { Lab } from '@meshpass/lab';
import { startMeshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { startPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { type Checked, check } from './checks.ts';
import { type Disaster, disasters, now } from './disasters.ts';
import { type Crowd, startCrowd } from './drive.ts';
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

export interface ChaosOptions {
  readonly lab: Lab;
  readonly seed: number;
  readonly seconds: number;
  readonly sessions: number;
  readonly progress: (line: string) => void;
}

export interface ChaosResult extends Checked {
  readonly seed: number;
  /** Disasters, and how often each happened. */
  readonly events: Readonly<Record<string, number>>;
}

const MEMBERS_OF_A_CROWD = 130;
const JOIN_AT_ONCE = 6;
/** Kills two at a time, so that a part that restarts finds another one dead. */
const LANES = 2;
/** A call of each member so often: as much traffic as two cores carry beside what chaos itself costs. */
const CALLS_A_SECOND = 60;
const LEAST_PACE_MS = 1_000;
/** GitHub gives each 5,000 calls an hour. */
const DEVELOPERS = 50;
const developerOf = (number: number) => `dev-${number % DEVELOPERS}`;

/** @throws if the lab itself fails */
export async function runChaos({ lab, seed, seconds, sessions, progress }: ChaosOptions): Promise<ChaosResult> {
  const random = seeded(seed);
  const { github } = standIns(lab);
  await github.reset();
  const postgres = startPostgres();
  const crowds: Crowd[] = [];
  const events: Record<string, number> = {};
  const happened = (what: string) => {
    events[what] = (events[what] ?? 0) + 1;
    progress(what);
  };
  const meshpass = await startMeshpass(lab, {
    accessFile: fileURLToPath(new URL('./access.yaml', import.meta.url)),
    edgeApart: true,
    breakGlassWithoutAnEmergency: true,
    flags: [
      ...['--database-url', postgres.url, '--lease', String(LEASE_SECONDS), '--heartbeat', '5'],
      ...['--restart-grace', String(GRACE_SECONDS)],
    ],
  });
  try {
    await pause(1_000);
    for (let n = 0; n < DEVELOPERS; n++) {
      await github.createUser({ login: developerOf(n), memberOf: 'acme' });
      await github.addToTeam('acme/payments', developerOf(n));
    }
    const operator = createOperatorClient(
      { operator: meshpass.operatorUrl },
      { MESHPASS_OPERATOR_TOKEN: meshpass.operatorToken },
    );
    const pace = Math.max(LEAST_PACE_MS, (sessions * 1_000) / CALLS_A_SECOND);
    for (let n = 0; n * MEMBERS_OF_A_CROWD < sessions; n++)
      crowds.push(await startCrowd(lab, n % 2 === 0 ? 'workspace' : 'workspace-2', meshpass.brokerUrl, pace));
    const present = new Map<string, Present>();
    const ordered: Ordered = new Map();
    const unanswered: Unanswered = new Map();
    const spans: Event[] = [];
    // An order may still be under way when the next one is given.
    const order = (session: string, ...causes: string[]) =>
      ordered.set(session, new Set([...(ordered.get(session) ?? []), ...causes]));
    let number = 0;
    const arrive = async () => {
      const as = `member-${number++}`;
      const crowd = crowds[number % crowds.length]!;
      const { name: codespace, token } = await github.createCodespace({
        owner: developerOf(number),
        repository: 'acme/payments-api',
        host: crowd.host,
        // One in four workspaces calls the broker; for each of those the App reads two lists, and the watch shares its budget.
        tokenReadsCodespaces: number % 4 !== 0,
      });
      // Retries like a developer who starts the agent again after a failed start.
      for (let attempts = 1; ; attempts++) {
        try {
          const session = await crowd.join(as, { token, codespace });
          present.set(as, { as, crowd, codespace });
          return session;
        } catch (thrown) {
          if (attempts === 60) throw thrown;
          await pause(1_000);
        }
      }
    };
    progress(`seed ${seed}: ${sessions} sessions arrive`);
    await lanes(JOIN_AT_ONCE, sessions, arrive);
    const edgeDown: Span[] = [];
    const all = disasters(lab, postgres, random, edgeDown);
    let going = true;
    const served = async () => {
      const answers = () => operator('GET', '/admin/sessions').then(Boolean, () => false);
      while (!(await answers())) await pause(100);
    };
    const leave = async () => {
      const one = [...present.values()][Math.floor(random() * present.size)];
      const how = (['goodbye', 'vanish', 'operator', 'github'] as const)[Math.floor(random() * 4)]!;
      if (!one) return;
      const session = (await one.crowd.report()).members[one.as]!;
      happened(`end: ${how}`);
      if (how === 'operator') {
        order(session, 'operator');
        // Its agent comes back with a new session. A broker that is away closes nothing.
        const from = now();
        await operator('POST', '/admin/sessions/close', { id: session, reason: 'chaos' }).catch(async () => {
          await served();
          unanswered.set(session, [...(unanswered.get(session) ?? []), { from, to: now() }]);
        });
        return;
      }
      present.delete(one.as);
      if (how === 'github') await github.setCodespaceState(one.codespace, 'Shutdown');
      const cause = { goodbye: 'goodbye', vanish: 'lease_lapsed', github: 'workspace_stopped' }[how];
      // GitHub's event or a goodbye may not reach the broker; then the lease ends the session.
      order(session, cause, 'lease_lapsed', 'workspace_stopped');
      await one.crowd.leave(one.as, how === 'goodbye' ? 'goodbye' : 'vanish');
    };
    const churn = async () => {
      while (going) {
        await pause((60_000 / sessions) * (0.5 + random()));
        await leave();
        if (present.size < sessions) await arrive();
      }
    };
    // Dealt like cards: each comes once before any comes again.
    const busy = new Set<Disaster>();
    const dealt = new Set<Disaster>();
    const destroy = async () => {
      while (going) {
        await pause(2_000 + random() * 6_000);
        if (all.every((one) => dealt.has(one) || busy.has(one))) dealt.clear();
        const free = all.filter((one) => !busy.has(one) && !dealt.has(one));
        const chosen = free[Math.floor(random() * free.length)]!;
        busy.add(chosen);
        dealt.add(chosen);
        happened(chosen.name);
        const from = now();
        await chosen.strike();
        spans.push({ what: chosen.name, from, to: now() });
        busy.delete(chosen);
      }
    };
    const chaos = [churn(), churn(), ...Array.from({ length: LANES }, destroy)];
    const failed = Promise.race(chaos.map((one) => one.then(() => new Promise<never>(() => {}))));
    await Promise.race([pause(seconds * 1000), failed]);
    going = false;
    await Promise.all(chaos);
    progress('calm again; everything is looked at');
    const world = {
      lab,
      meshpass,
      operator,
      crowds,
      present,
      ordered,
      unanswered,
      edgeDown,
      events: spans,
      random,
      progress,
    };
    return { seed, events, ...(await check(world)) };
  } finally {
    for (const crowd of crowds) crowd.end();
    await meshpass.stop();
    postgres.stop();
  }
}

/** Mulberry32, by Tommy Ettinger: small, and the same everywhere. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
