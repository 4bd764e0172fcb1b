/**
 * A line between a host and its network that takes time and loses frames, as the internet does. The host's link leaves its
 * bridge, and a relay passes frames between it and a TAP device in its place. (The kernel's netem would do without, but kernels
 * may lack it.)
 */
import { fileURLToPath } from 'node:url';
import { LabError } from '../error.ts';
import type { Host, Plan } from '../plan.ts';
import { must, run } from '../run.ts';
import { runUnit, stopUnit, type Unit } from '../unit.ts';
import { bridgeOf } from './create.ts';
import { enterHost } from './enter.ts';

export interface Line {
  /** Milliseconds there and back, in addition to the machine's own delay. */
  readonly roundTripMs: number;
  /** Loss in percent of frames, each way. Default: 0. */
  readonly lossPercent?: number;
}

const RELAY = fileURLToPath(new URL('delay-line.py', import.meta.url));
const MAX_ROUND_TRIP_MS = 10_000;
/** Segments that the kernel hands over as one frame: its default, and none, so that each can be lost alone. */
const WHOLE = 65_535;
const CUT = 1;

/**
 * Puts a line between a host and its bridge, replacing an existing line; connections of the host stay open.
 * @param dir state directory of the lab
 * @throws LabError `lab_usage` for a line that cannot be, `lab_start` if it could not be laid
 */
export async function layLine(dir: string, plan: Plan, host: Host, line: Line): Promise<void> {
  const { roundTripMs, lossPercent = 0 } = line;
  if (!(roundTripMs >= 0 && roundTripMs <= MAX_ROUND_TRIP_MS))
    throw new LabError('lab_usage', `A round trip takes 0 to ${MAX_ROUND_TRIP_MS} ms, not ${roundTripMs}.`);
  if (!(lossPercent >= 0 && lossPercent < 100))
    throw new LabError('lab_usage', `A line loses 0 to 99 % of its frames, not ${lossPercent}.`);
  await removeLine(dir, plan, host);
  const { netns, bridge, isolated } = bridgeOf(plan, host);
  const tap = tapOf(host);
  await ip(netns, [
    `tuntap add dev ${tap} mode tap vnet_hdr`,
    `link set ${tap} addrgenmode none txqueuelen 10000 master ${bridge} up`,
    // Nobody but the relay takes what arrives on a link that is on no bridge.
    `link set ${host.name} nomaster arp off promisc on`,
  ]);
  if (isolated) await must(['bridge', '-n', netns, 'link', 'set', 'dev', tap, 'isolated', 'on'], 'lab_start');
  await must(enterHost(netns, ['iptables', '-I', ...refusal(host)]), 'lab_start');
  await ip(host.netns, [`link set eth0 gso_max_segs ${lossPercent > 0 ? CUT : WHOLE}`]);
  await runUnit(dir, unit(dir, host, netns, [host.name, tap, String(roundTripMs / 2), String(lossPercent)]));
}

/** Puts the host back on its bridge. Does nothing without a line. */
export async function removeLine(dir: string, plan: Plan, host: Host): Promise<void> {
  const { netns, bridge, isolated } = bridgeOf(plan, host);
  const there = await run(['ip', '-n', netns, 'link', 'show', tapOf(host)]);
  if (there.code !== 0) return;
  await stopUnit(dir, unitName(host));
  await run(enterHost(netns, ['iptables', '-D', ...refusal(host)])); // absent if laying the line failed half way
  await ip(netns, [`link del ${tapOf(host)}`, `link set ${host.name} arp on promisc off master ${bridge} up`]);
  if (isolated) await must(['bridge', '-n', netns, 'link', 'set', 'dev', host.name, 'isolated', 'on'], 'lab_start');
  await ip(host.netns, [`link set eth0 gso_max_segs ${WHOLE}`]);
}

/** A name of at most 15 characters. */
function tapOf(host: Host): string {
  return `dl-${host.name}`;
}

function unitName(host: Host): string {
  return `delay-line-${host.name}`;
}

function refusal(host: Host): readonly string[] {
  return ['INPUT', '-i', host.name, '-j', 'DROP'];
}

function unit(dir: string, host: Host, netns: string, args: readonly string[]): Unit {
  return {
    name: unitName(host),
    host: host.name,
    netns,
    cwd: dir,
    argv: ['python3', RELAY, ...args],
    env: { PATH: process.env.PATH ?? '' },
    ready: { log: 'delay line up' },
  };
}

async function ip(netns: string, commands: readonly string[]): Promise<void> {
  await must(['ip', '-n', netns, '-batch', '-'], 'lab_start', { input: `${commands.join('\n')}\n` });
}
