/**
 * The workspaces of bench/return/bench.ts, as a process on a host of the lab: a JSON order a line on standard input, a JSON report a
 * line on standard output. Each has the agent's own modules for its session, credentials, configuration and control channel, with
 * their own pauses and jitter, but no Envoy.
 */
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { type Proof, toMeshpassError } from '@meshpass/identity';
import { type Joining, joinMesh, type Workspace } from './workspace.ts';

export interface Arrival {
  readonly proof: Proof;
  /** Address that the broker sees. */
  readonly from?: string;
  /** Group of the workspace that is counted separately. */
  readonly group: Group;
}

/** `returning`: their SVIDs expire while the broker is away. `staying`: theirs are valid all the time, and due when it is back. */
export type Group = 'returning' | 'staying';

export interface Opening {
  readonly broker: string;
  readonly caFile: string;
  readonly arrivals: readonly Arrival[];
  readonly perSecond: number;
}

export type Order =
  | ({ readonly do: 'open' } & Opening)
  /** Counts from now on. */
  | { readonly do: 'begin' }
  | { readonly do: 'look' }
  /** Timing of one new developer. */
  | { readonly do: 'enrol'; readonly broker: string; readonly caFile: string; readonly proof: Proof };

export interface Opened {
  readonly opened: number;
  /** Unix ms at which the last SVID of each group expires. */
  readonly expiry: Readonly<Record<Group, number>>;
}

export interface Look {
  /** Sessions whose SVIDs are all valid, and that have had a lease since `begin`; those of them whose lease the channel renews. */
  readonly whole: number;
  readonly certified: number;
  readonly leased: number;
  readonly byChannel: number;
  /** Sessions that are not the one that was opened. */
  readonly lost: number;
  /** Unix ms of each certificate since `begin`. */
  readonly certificates: readonly number[];
  /** Group that stays: ms left of the old SVID when the new one arrived; negative: a time without a valid SVID. */
  readonly leftAtRenewal: readonly number[];
  /** Workspaces of that group that have not renewed and whose SVID has expired. */
  readonly overdue: number;
  /** Refusals and failures since `begin`, by task and code. */
  readonly failures: Readonly<Record<string, number>>;
}

export interface Enrolled {
  /** Time from the first request to certificates and token. */
  readonly milliseconds: number;
  readonly refused: readonly string[];
}

const ARRIVING_TOGETHER = 16;
const OPENING_TRIES = 6;
const LONGEST_ENROLMENT = 120_000;
const members: { readonly group: Group; readonly workspace: Workspace; readonly session: string }[] = [];
let failures: Record<string, number> = {};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, order } = JSON.parse(line) as { id: number; order: Order };
  obey(order).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error: Error) => console.log(JSON.stringify({ id, error: error.message })),
  );
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'open':
      return await open(order);
    case 'begin':
      failures = {};
      for (const { workspace } of members) workspace.begin();
      return {};
    case 'look':
      return look();
    case 'enrol':
      return await enrol(order);
  }
}

async function open({ broker, caFile, arrivals, perSecond }: Opening): Promise<Opened> {
  const began = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < arrivals.length) {
      const number = next++;
      const { proof, from, group } = arrivals[number]!;
      await pause(Math.max(0, began + (number * 1000) / perSecond - performance.now()));
      const workspace = await join({ broker, caFile, proof, ...(from !== undefined && { from }) });
      members.push({ group, workspace, session: workspace.session() });
    }
  };
  await Promise.all(Array.from({ length: ARRIVING_TOGETHER }, lane));
  const last = (group: Group) =>
    Math.max(0, ...members.filter((one) => one.group === group).map(({ workspace }) => workspace.expiresAt()));
  return { opened: members.length, expiry: { returning: last('returning'), staying: last('staying') } };
}

/** Joins with retries, because the measurement excludes refusals by a machine that is busy with other work or with the opening itself. */
async function join(joining: Omit<Joining, 'failed'>): Promise<Workspace> {
  for (let tries = 1; ; tries++) {
    try {
      return await joinMesh({ ...joining, failed: count });
    } catch (thrown) {
      if (tries === OPENING_TRIES) throw thrown;
      await pause((toMeshpassError(thrown).retryAfter ?? tries) * 1000);
    }
  }
}

function count(what: string): void {
  failures[what] = (failures[what] ?? 0) + 1;
}

function look(): Look {
  const now = Date.now();
  const certified = members.filter(({ workspace }) => workspace.expiresAt() > now);
  const staying = members.filter(({ group }) => group === 'staying');
  return {
    whole: certified.filter(({ workspace }) => workspace.leasedAt() !== undefined).length,
    certified: certified.length,
    leased: members.filter(({ workspace }) => workspace.leasedAt() !== undefined).length,
    byChannel: members.filter(({ workspace }) => workspace.hasChannel()).length,
    lost: members.filter(({ workspace, session }) => workspace.session() !== session || workspace.isOver()).length,
    certificates: members.flatMap(({ workspace }) => workspace.renewals().map(({ at }) => at)),
    leftAtRenewal: staying.flatMap(({ workspace }) => workspace.renewals().map(({ left }) => left)),
    overdue: staying.filter(({ workspace }) => workspace.expiresAt() <= now).length,
    failures,
  };
}

/** Enrols like `meshpass up` does, and retries as often as a developer would. */
async function enrol({
  broker,
  caFile,
  proof,
}: {
  readonly broker: string;
  readonly caFile: string;
  readonly proof: Proof;
}): Promise<Enrolled> {
  const began = performance.now();
  const refused: string[] = [];
  for (;;) {
    try {
      const workspace = await joinMesh({ broker, caFile, proof, failed: () => {} });
      const milliseconds = performance.now() - began;
      await workspace.leave();
      return { milliseconds, refused };
    } catch (thrown) {
      const { code, retryAfter = 1 } = toMeshpassError(thrown);
      refused.push(code);
      if (performance.now() - began > LONGEST_ENROLMENT) throw thrown;
      await pause(retryAfter * 1000);
    }
  }
}
