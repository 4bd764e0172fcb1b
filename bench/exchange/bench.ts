/**
 * OIDC exchanges per second of one broker on one core, over the whole HTTP path and with a durable audit row each. The
 * client runs on another core and is not counted.
 *   node bench/exchange/bench.ts [exchanges] [connections]
 * With DATABASE_URL the store is that PostgreSQL, whose own work is then not on the broker's core.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Start, Started } from './broker.ts';
import type { Load, Measured } from './client.ts';

export interface ExchangeResult extends Measured {
  readonly store: string;
  /** Processor time of the broker, user and system. */
  readonly cpuMsPerExchange: number;
}

export async function benchExchange(exchanges = 8_000, connections = 64): Promise<ExchangeResult> {
  const broker = pinned('broker.ts', 0);
  const client = pinned('client.ts', availableParallelism() > 1 ? 1 : 0);
  try {
    const [start] = (await once(client, 'message')) as [Start];
    broker.send(start);
    const [{ port, ca, store }] = (await once(broker, 'message')) as [Started];
    const run = async (count: number) => {
      const load: Load = { port, ca, connections, exchanges: count };
      client.send(load);
      const [measured] = (await once(client, 'message')) as [Measured];
      return measured;
    };
    // Proofs of the second in which the broker started are refused; and code is compiled as it is used.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await run(Math.min(2_000, exchanges));
    const before = await usage(broker);
    const measured = await run(exchanges);
    const cpuMsPerExchange = ((await usage(broker)) - before) / 1000 / exchanges;
    broker.send('stop');
    await once(broker, 'exit');
    return { ...measured, store, cpuMsPerExchange };
  } finally {
    broker.kill();
    client.kill();
  }
}

/** @param env added to that of this process; undefined takes a variable away */
export function pinned(
  file: string,
  core: number,
  env: Readonly<Record<string, string | undefined>> = {},
): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as ['ignore', 'inherit', 'inherit', 'ipc'];
  return spawn('taskset', ['-c', String(core), process.execPath, ...profiling(file), path], {
    stdio,
    env: { ...process.env, ...env },
  });
}

function profiling(file: string): string[] {
  return process.env.PROFILE && file === 'broker.ts' ? ['--cpu-prof', `--cpu-prof-dir=${process.env.PROFILE}`] : [];
}

export async function usage(child: ChildProcess): Promise<number> {
  child.send('usage');
  const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage];
  return user + system;
}

if (import.meta.main) {
  const result = await benchExchange(Number(process.argv[2] ?? 8_000), Number(process.argv[3] ?? 64));
  console.log(
    `${result.store}: ${result.perSecond.toFixed(0)} exchanges/s, p50 ${result.p50.toFixed(1)} ms, p99 ${result.p99.toFixed(1)} ms, ` +
      `${result.cpuMsPerExchange.toFixed(2)} ms of CPU each, ${result.failed} refused`,
  );
}
