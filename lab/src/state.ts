/**
 * Files of a running lab, so that any process can find it, attach to it or stop it:
 *
 *     /var/lib/meshpass-lab/NAME/lab.json    name, subnet, boot, optional hosts, whether `up` has finished
 *                               units/*.json the processes (see unit.ts)
 *                               holders/     one file per process that wants the lab to live; `keep` for good
 *                               hosts/HOST/  working directory of a host
 *                               logs/        one log per process
 *                               tls/ ca/     certificates
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './error.ts';

const ROOT = '/var/lib/meshpass-lab';
const NAME = /^[a-z][a-z0-9]{0,15}$/;
const SUBNETS = 250;

export const DEFAULT_NAME = 'meshpass';

export interface LabRecord {
  readonly name: string;
  readonly subnet: number;
  /** Id of the machine's boot: after another boot nothing of the lab runs. */
  readonly boot: string;
  readonly extra: readonly string[];
  /** Whether istiod serves Gateway API. */
  readonly gatewayApi?: boolean;
  /** False while `up` is under way, and after an `up` that did not end. */
  readonly complete: boolean;
  readonly versions: Readonly<Record<string, string>>;
  /** Node.js that runs the sample applications. */
  readonly node: string;
}

/** @throws LabError `lab_usage` */
export function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new LabError('lab_usage', `"${name}" is no name for a lab: use 1 to 16 of a-z and 0-9, a letter first.`);
}

export function stateDir(name: string): string {
  return join(ROOT, name);
}

export function readRecord(name: string): LabRecord | undefined {
  const file = join(stateDir(name), 'lab.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LabRecord) : undefined;
}

export function writeRecord(record: LabRecord): void {
  mkdirSync(stateDir(record.name), { recursive: true, mode: 0o755 });
  writeFileSync(join(stateDir(record.name), 'lab.json'), JSON.stringify(record, null, 2));
}

export function removeState(name: string): void {
  rmSync(stateDir(name), { recursive: true, force: true });
}

/** Names of all labs that left something, running or not. */
export function labNames(): string[] {
  return existsSync(ROOT) ? readdirSync(ROOT).filter((name) => NAME.test(name)) : [];
}

/** The lowest subnet that no lab has. Call it holding the lock `subnets` until the record is written. */
export function freeSubnet(): number {
  const taken = new Set(labNames().map((name) => readRecord(name)?.subnet));
  for (let subnet = 1; subnet <= SUBNETS; subnet += 1) if (!taken.has(subnet)) return subnet;
  throw new LabError('lab_start', `All ${SUBNETS} subnets are in use by labs; take some down.`);
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
