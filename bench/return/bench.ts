/**
 * Return of many agents at once: broker and edge are killed and stay away for longer than the SVIDs live, and then
 * start again. Every session must get valid SVIDs and a lease, and none may be lost, while new developers enrol and
 * sessions with valid SVIDs renew in time. Runs on the lab's real mesh, with a durable store; GitHub is the stand-in, which counts
 * its budget. The agents are the agent's own modules without an Envoy, in one process that is not counted.
 *   npm run bench -- return [--sessions N]
 */
import { setTimeout as pause } from 'node:timers/promises';
import { upLab } from '@meshpass/lab';
import type { Enrolled, Look, Opened } from './agents.ts';
import { type PartName, type PartUse, watchParts } from './parts.ts';
import { openWorld, type World } from './world.ts';

export interface ReturnResult {
  readonly sessions: number;
  readonly ttlSeconds: number;
  /** How long broker and edge were away, s. */
  readonly awaySeconds: number;
  /** Times from the broker's first answer until each session has its SVID, and until each has an SVID and a lease. */
  readonly certifiedSeconds: number;
  readonly wholeSeconds: number;
  /** Sessions without both when the bench gave up. */
  readonly missing: number;
  readonly lost: number;
  readonly byChannel: number;
  /** Signatures of istiod, and in its busiest five seconds of certificates that agents got, a second. */
  readonly signed: number;
  readonly peakPerSecond: number;
  /** SVIDs per five seconds since the broker returned. */
  readonly certificatesEvery5s: readonly number[];
  readonly newcomers: readonly Enrolled[];
  /** Renewals before the outage, one after the other: the capacity of this machine without a storm. */
  readonly calm: readonly Enrolled[];
  readonly staying: number;
  /** Renewals after the old SVID had expired. */
  readonly late: number;
  /** Shortest remaining life of a renewed SVID, s; undefined if none was renewed. */
  readonly leastLeftSeconds: number | undefined;
  /** Calls that counted against the App's budget in the storm, and what GitHub refused for a spent budget. */
  readonly githubCalls: number;
  readonly githubLeft: number;
  readonly parts: Readonly<Record<PartName, PartUse>>;
  readonly failures: Readonly<Record<string, number>>;
}

export interface ReturnOptions {
  readonly sessions: number;
  readonly progress: (line: string) => void;
}

/** Minimum signatures per second of istiod on an idle machine (design: 80 to 115); goals are based on it. */
const SIGNED_PER_SECOND = 60;
export const RETURN_GOALS = {
  /** Time to sign all requested certificates, plus time that does not depend on their number: the first pauses and the last. */
  wholeSeconds: (sessions: number) => Math.ceil(sessions / SIGNED_PER_SECOND) + 45,
  newcomerP50Ms: 2_000,
  newcomerP99Ms: 5_000,
  /** Share of an hour's budget that the storm may use, calls of newcomers included. */
  githubCalls: 500,
} as const;

const NEWCOMERS = 20;
const CALM = 5;
const STAYING_SHARE = 0.05;
/** Newcomers per second, so that enrolled workspaces can renew. */
const OPENED_PER_SECOND = 30;
const HOUR_WHILE_OPENING_MS = 20_000;
const LEAST_TTL = 120;
const GITHUB_BUDGET = 5_000;
const LOOK_MS = 1_000;
const LONGEST_SECONDS = 900;

export async function benchReturn({ sessions, progress }: ReturnOptions): Promise<ReturnResult> {
  const ttlSeconds = Math.max(LEAST_TTL, Math.ceil(sessions * 0.06));
  const staying = Math.max(20, Math.floor(sessions * STAYING_SHARE));
  const lab = await upLab({ with: ['workspace-2'], progress });
  try {
    progress(`${sessions} Codespaces, SVIDs of ${ttlSeconds} s`);
    const world = await openWorld(lab, { sessions, staying, newcomers: CALM + NEWCOMERS, ttlSeconds });
    try {
      return await comeBack(world, { sessions, staying, ttlSeconds, progress });
    } finally {
      await world.close();
    }
  } finally {
    await lab.down();
  }
}

interface Terms extends ReturnOptions {
  readonly staying: number;
  readonly ttlSeconds: number;
}

async function comeBack(world: World, { sessions, staying, ttlSeconds, progress }: Terms): Promise<ReturnResult> {
  const { lab, players, meshpass, workspaces, arrivals } = world;
  const where = { broker: meshpass.brokerUrl, caFile: lab.testCa };
  // Proofs of the second in which the broker started are refused.
  await pause(1_000);
  progress(`opening ${sessions} sessions`);
  // Compresses a day's enrolments into minutes; GitHub's hours pass as fast.
  const hours = setInterval(() => void players.github.renewBudgets().catch(() => {}), HOUR_WHILE_OPENING_MS);
  const { opened } = await workspaces
    .order<Opened>({ do: 'open', ...where, arrivals, perSecond: OPENED_PER_SECOND })
    .finally(() => clearInterval(hours));
  await players.github.renewBudgets();
  if (opened !== sessions) throw new Error(`only ${opened} of ${sessions} sessions opened`);
  const [calmProofs, proofs] = [world.newcomerProofs.slice(0, CALM), world.newcomerProofs.slice(CALM)];
  const calm: Enrolled[] = [];
  for (const proof of calmProofs) calm.push(await world.newcomers.order<Enrolled>({ do: 'enrol', ...where, proof }));
  progress(`broker and edge are killed, for ${ttlSeconds} s`);
  await Promise.all([lab.kill('meshpass'), lab.kill('edge')]);
  const wentAt = Date.now();
  await pause(ttlSeconds * 1000 - 1_000);
  for (let before = await workspaces.order<Look>({ do: 'look' }); before.certified > staying; ) {
    await pause(500);
    before = await workspaces.order<Look>({ do: 'look' });
  }
  const awaySeconds = (Date.now() - wentAt) / 1000;
  progress(`broker and edge were away for ${Math.round(awaySeconds)} s, and start`);
  await workspaces.order({ do: 'begin' });
  await lab.restart('meshpass');
  const backAt = Date.now();
  const spentBefore = await installationCalls(world);
  await lab.restart('edge');
  const watch = await watchParts(world);
  const enrolling = enrolAll(world, proofs, where, Math.max(200, (sessions / SIGNED_PER_SECOND / NEWCOMERS) * 1000));
  let certifiedSeconds = Number.NaN;
  let wholeSeconds = Number.NaN;
  let seen: Look;
  for (;;) {
    seen = await workspaces.order<Look>({ do: 'look' });
    const seconds = (Date.now() - backAt) / 1000;
    if (seen.certified === sessions && Number.isNaN(certifiedSeconds)) certifiedSeconds = seconds;
    if (seen.whole === sessions) wholeSeconds = seconds;
    if (!Number.isNaN(wholeSeconds) || seconds > LONGEST_SECONDS) break;
    await pause(LOOK_MS);
  }
  const { signed, parts } = await watch.stop();
  const newcomers = await enrolling;
  // Sessions that stayed have until their SVIDs expire, which may be after the storm.
  seen = await settled(world, staying, seen);
  const githubCalls = (await installationCalls(world)) - spentBefore;
  return {
    sessions,
    ttlSeconds,
    awaySeconds,
    certifiedSeconds,
    wholeSeconds,
    signed,
    parts,
    newcomers,
    calm,
    staying,
    missing: sessions - seen.whole,
    lost: seen.lost,
    byChannel: seen.byChannel,
    peakPerSecond: busiest(seen.certificates),
    certificatesEvery5s: everyFive(seen.certificates, backAt),
    late: seen.leftAtRenewal.filter((left) => left < 0).length + seen.overdue,
    leastLeftSeconds: seen.leftAtRenewal.length > 0 ? Math.min(...seen.leftAtRenewal) / 1000 : undefined,
    githubCalls,
    githubLeft: GITHUB_BUDGET - (await installationCalls(world)),
    failures: seen.failures,
  };

  /** Budget of the App's installation, which all sessions share; a developer's own token has its own. */
  async function installationCalls(_: World): Promise<number> {
    const spent = await players.github.spent();
    return Math.max(0, ...Object.entries(spent).map(([key, used]) => (key.startsWith('installation:') ? used : 0)));
  }
}

async function settled({ workspaces }: World, staying: number, first: Look): Promise<Look> {
  let seen = first;
  for (let n = 0; n < 60 && seen.leftAtRenewal.length < staying; n++) {
    await pause(LOOK_MS);
    seen = await workspaces.order<Look>({ do: 'look' });
  }
  return seen;
}

async function enrolAll(
  { newcomers }: World,
  proofs: World['newcomerProofs'],
  where: { readonly broker: string; readonly caFile: string },
  everyMs: number,
): Promise<readonly Enrolled[]> {
  return await Promise.all(
    proofs.map(async (proof, n) => {
      await pause(1_000 + n * everyMs);
      return await newcomers.order<Enrolled>({ do: 'enrol', ...where, proof });
    }),
  );
}

function everyFive(at: readonly number[], from: number): number[] {
  const counts: number[] = [];
  for (const time of at) {
    const slot = Math.max(0, Math.floor((time - from) / 5_000));
    while (counts.length <= slot) counts.push(0);
    counts[slot]!++;
  }
  return counts;
}

/** @param at Unix ms. @returns count a second in the busiest five seconds */
function busiest(at: readonly number[]): number {
  const sorted = at.toSorted((a, b) => a - b);
  let most = 0;
  let from = 0;
  for (const [to, time] of sorted.entries()) {
    while (time - sorted[from]! > 5_000) from++;
    most = Math.max(most, to - from + 1);
  }
  return most / 5;
}
