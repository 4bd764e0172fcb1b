/**
 * The lab's processes. A unit is described by data that is kept in the state directory, so that any process can see
 * whether it runs, kill it, or start it again just as it was.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabError } from './error.ts';
import { enterHost } from './network/enter.ts';

/** Sign that a unit is ready: an HTTP 200, or a line in its log. */
export type Ready = { readonly url: string } | { readonly log: string };

export interface Unit {
  readonly name: string;
  readonly host: string;
  readonly netns: string;
  /** Command line that enters the host, where entering `netns` is not enough. */
  readonly enter?: readonly string[];
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** User it runs as; root where absent. */
  readonly uid?: number;
  readonly ready: Ready;
}

interface Running {
  readonly unit: Unit;
  readonly pid: number;
  /** Start time of the process in clock ticks, which distinguishes it from a later process with the same number. */
  readonly started: string;
}

const READY_MS = 60_000;
const STOP_MS = 15_000;
/** Time within which a running unit must answer before it is restarted: on a saturated machine it may be slow. */
const MEND_MS = 30_000;
const POLL_MS = 25;
const LOG_LINES = 15;

/** Starts a unit that does not run, and does not wait until it is ready. */
export function startUnit(dir: string, unit: Unit): void {
  if (isAlive(dir, unit.name)) return;
  mkdirSync(join(dir, 'logs'), { recursive: true });
  mkdirSync(join(dir, 'units'), { recursive: true });
  const log = openSync(logFile(dir, unit.name), 'a');
  // An access log to /dev/stdout reopens this file, as the unit's own user.
  if (unit.uid !== undefined) fchownSync(log, unit.uid, unit.uid);
  const [file, ...args] = unit.enter ? [...unit.enter, ...unit.argv] : enterHost(unit.netns, unit.argv, unit.uid);
  const child = spawn(file ?? '', args, { detached: true, stdio: ['ignore', log, log], cwd: unit.cwd, env: unit.env });
  closeSync(log);
  child.unref();
  child.on('error', () => {}); // shows as a unit that is not alive
  if (child.pid === undefined) throw new LabError('lab_start', `${unit.name} could not be started.`);
  const running: Running = { unit, pid: child.pid, started: startTime(child.pid) ?? '' };
  writeFileSync(unitFile(dir, unit.name), JSON.stringify(running, null, 2));
}

/**
 * @param from position in its log at which to search for the line that shows it is ready
 * @param within milliseconds
 * @throws LabError `lab_start` with the last lines of its log when it ends or takes too long
 */
export async function waitReady(dir: string, unit: Unit, from = 0, within = READY_MS): Promise<void> {
  const deadline = Date.now() + within;
  while (!(await isReady(dir, unit, from))) {
    const ended = !isAlive(dir, unit.name);
    if (ended || Date.now() > deadline) {
      const log = readFileSync(logFile(dir, unit.name), 'utf8').trim().split('\n').slice(-LOG_LINES).join('\n');
      throw new LabError(
        'lab_start',
        `${unit.name} ${ended ? 'ended while starting' : 'is not ready'}. Its log ends:\n${log}`,
      );
    }
    await sleep(POLL_MS);
  }
}

/** Starts a unit and waits until it is ready. */
export async function runUnit(dir: string, unit: Unit): Promise<void> {
  const from = logSize(dir, unit.name);
  startUnit(dir, unit);
  await waitReady(dir, unit, from);
}

/** Restarts a unit that died, or that runs without being ready. */
export async function mendUnit(dir: string, unit: Unit): Promise<void> {
  if (isAlive(dir, unit.name)) {
    const ready = await waitReady(dir, unit, 0, MEND_MS).then(
      () => true,
      () => false,
    );
    if (ready) return;
    await killUnit(dir, unit.name);
  }
  await runUnit(dir, unit);
}

/** Ends a unit and its children at once (SIGKILL), and waits until they are gone. */
export async function killUnit(dir: string, name: string): Promise<void> {
  const running = readUnit(dir, name);
  if (!running) throw new LabError('lab_usage', `There is no ${name} in this lab: ${unitNames(dir).join(', ')}.`);
  if (!isAlive(dir, name)) return;
  const doomed = family(running.pid);
  for (const { pid } of doomed) kill(pid);
  while (doomed.some(({ pid, started }) => startTime(pid) === started)) await sleep(POLL_MS);
}

/**
 * Asks a unit to end (SIGTERM) and waits; one that takes longer than `within` milliseconds is killed. It is forgotten:
 * a repair of the lab does not start it again.
 */
export async function stopUnit(dir: string, name: string, within = STOP_MS): Promise<void> {
  const running = readUnit(dir, name);
  if (!running) return;
  if (isAlive(dir, name)) process.kill(running.pid, 'SIGTERM');
  const deadline = Date.now() + within;
  while (isAlive(dir, name) && Date.now() < deadline) await sleep(POLL_MS);
  await killUnit(dir, name);
  rmSync(unitFile(dir, name), { force: true });
}

export function isAlive(dir: string, name: string): boolean {
  const running = readUnit(dir, name);
  return running !== undefined && startTime(running.pid) === running.started;
}

/** Process id of a unit that runs. */
export function unitPid(dir: string, name: string): number | undefined {
  return isAlive(dir, name) ? readUnit(dir, name)?.pid : undefined;
}

export function unitNames(dir: string): string[] {
  const folder = join(dir, 'units');
  return existsSync(folder) ? readdirSync(folder).map((file) => file.slice(0, -'.json'.length)) : [];
}

export function unitOf(dir: string, name: string): Unit | undefined {
  return readUnit(dir, name)?.unit;
}

export function logFile(dir: string, name: string): string {
  return join(dir, 'logs', `${name}.log`);
}

export function logSize(dir: string, name: string): number {
  const file = logFile(dir, name);
  return existsSync(file) ? statSync(file).size : 0;
}

function unitFile(dir: string, name: string): string {
  return join(dir, 'units', `${name}.json`);
}

function readUnit(dir: string, name: string): Running | undefined {
  const file = unitFile(dir, name);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Running) : undefined;
}

/** Undefined for a process that ended, also for one not yet reaped. */
function startTime(pid: number): string | undefined {
  const stat = processStat(pid);
  return stat === undefined || stat.ended ? undefined : stat.started;
}

/** A process and all that descend from it, the oldest first: PostgreSQL's children leave its process group. */
function family(leader: number): { pid: number; started: string }[] {
  const all = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => ({ pid: Number(entry), stat: processStat(Number(entry)) }));
  const members = new Map<number, string>();
  const add = (pid: number): void => {
    const found = all.find((one) => one.pid === pid)?.stat;
    if (!found || members.has(pid)) return;
    members.set(pid, found.started);
    for (const one of all) if (one.stat?.parent === pid) add(one.pid);
  };
  add(leader);
  for (const one of all) if (one.stat?.group === leader) add(one.pid);
  return [...members].map(([pid, started]) => ({ pid, started }));
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

/** Fields 3, 4, 5 and 22 of /proc/PID/stat (proc(5)). A dead leader has not ended while threads of it are still dying. */
function processStat(pid: number): { ended: boolean; parent: number; group: number; started: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const dead = fields[0] === 'Z' || fields[0] === 'X';
    const ended = dead && readdirSync(`/proc/${pid}/task`).length <= 1;
    return { ended, parent: Number(fields[1]), group: Number(fields[2]), started: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

async function isReady(dir: string, unit: Unit, from: number): Promise<boolean> {
  if ('log' in unit.ready) return readFileSync(logFile(dir, unit.name)).subarray(from).includes(unit.ready.log);
  return answers(unit.ready.url);
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { timeout: 2000, rejectUnauthorized: false, agent: false };
    const request = (url.startsWith('https') ? https : http).get(url, options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
