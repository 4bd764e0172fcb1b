/**
 * The silent ends of bench/ends/bench.ts, with a short lease: an agent that was killed while a thief continues with a copy of its
 * credentials, and a workspace whose network was cut. Both count from the end of the lease that the broker had granted.
 */
import type { Lab } from '@meshpass/lab';
import { type Copied, type Deaths, KINDS } from './client.ts';
import { startWorkspaces } from './drive.ts';
import {
  type EndsRow,
  hold,
  liveSessions,
  now,
  openSessions,
  openWorld,
  type Session,
  type Times,
  timeDeaths,
  timesOf,
} from './world.ts';

export interface LapseCause extends Pick<EndsRow, 'cause' | 'from' | 'goal'> {
  readonly run: (lab: Lab, runs: number) => Promise<Times>;
}

const LEASE_SECONDS = 8;
const FLAGS = ['--lease', String(LEASE_SECONDS), '--heartbeat', '2'];
const GOAL = { medianMs: 1_000, worstMs: 1_000 };
const FROM = `the end of the lease (${LEASE_SECONDS} s)`;
const TOGETHER = 5;
const POLL_MS = 10;

export const LAPSE_CAUSES: readonly LapseCause[] = [
  { cause: 'agent killed (kill -9)', from: FROM, goal: GOAL, run: killed },
  { cause: 'network of the workspace cut', from: FROM, goal: GOAL, run: cutOff },
];

/** Another process, with a copy of all but the key, has the connections, so they do not die with the agent. */
async function killed(lab: Lab, runs: number): Promise<Times> {
  const world = await openWorld(lab, TOGETHER, FLAGS);
  const thief = startWorkspaces(lab, 'workspace');
  const rounds: { at: number; deaths: readonly Deaths[] }[] = [];
  for (let left = runs; left > 0; left -= TOGETHER) {
    const agents = startWorkspaces(lab, 'workspace');
    const sessions = await openSessions({ ...world, workspaces: agents }, Math.min(TOGETHER, left));
    for (const { as } of sessions) {
      const copied = await agents.order<Copied>({ do: 'copy', as });
      await thief.order({ do: 'take', as, copied });
    }
    await hold({ workspaces: thief }, sessions);
    let leases: ReadonlyMap<string, number> = new Map();
    const { deaths } = await timeDeaths({ workspaces: thief }, sessions, async () => {
      agents.kill();
      leases = await leasesOf(world, sessions);
      return now();
    });
    rounds.push(...sessions.map(({ id }, n) => ({ at: leases.get(id)!, deaths: [deaths[n]!] })));
  }
  thief.kill();
  world.workspaces.kill();
  await world.meshpass.stop();
  return timesOf(rounds);
}

/** Time for which the edge keeps a socket of a workspace that no longer answers. Only the edge can measure it. */
async function cutOff(lab: Lab, runs: number): Promise<Times> {
  const host = 'workspace-2';
  const world = await openWorld(lab, 1, FLAGS, host);
  const rule = (change: '-I' | '-D') =>
    Promise.all(
      ['INPUT', 'OUTPUT'].map(async (chain) => {
        const { code, stderr } = await lab.exec(host, ['iptables', change, chain, '-j', 'DROP']);
        if (code !== 0) throw new Error(stderr);
      }),
    );
  const sockets = async () => {
    const filter = ['state', 'established', 'sport', '=', ':443', 'dst', lab.hosts[host]!.ip];
    const { stdout } = await lab.exec('meshpass', ['ss', '-Htn', ...filter]);
    return stdout.split('\n').filter((line) => line.trim() !== '').length;
  };
  const times: number[] = [];
  for (let run = 0; run < runs; run++) {
    const sessions = await openSessions(world, 1);
    await hold(world, sessions);
    if ((await sockets()) < 3) throw new Error('the edge has no sockets of the workspace');
    await rule('-I');
    try {
      const leases = await leasesOf(world, sessions);
      while ((await sockets()) > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      times.push(Math.max(0, Math.round(now() - leases.get(sessions[0]!.id)!)));
    } finally {
      await rule('-D');
    }
    await world.workspaces.order({ do: 'watch', as: sessions[0]!.as, limitMs: 30_000 });
  }
  world.workspaces.kill();
  await world.meshpass.stop();
  const { 'new connection': _, ...open } = Object.fromEntries(KINDS.map((kind) => [kind, times]));
  return open as Times;
}

/** Waits until no heartbeat is under way. @returns the end of each lease by session id, Unix ms */
async function leasesOf(world: Parameters<typeof liveSessions>[0], sessions: readonly Session[]) {
  await new Promise((resolve) => setTimeout(resolve, 300));
  const leases = new Map((await liveSessions(world)).map((one) => [one.id, one.lease_expires_at * 1000]));
  for (const { id } of sessions) if (!leases.has(id)) throw new Error(`session ${id} ended too soon`);
  return leases;
}
