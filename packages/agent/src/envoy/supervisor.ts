/** Keeps Envoy running: starts it, restarts it when it exits, drains it and stops it. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { plainText } from '@meshpass/identity';
import { EnvoyAdmin } from './admin.ts';
import { createBootstrap } from './bootstrap.ts';
import type { EnvoyBinary } from './find.ts';
import { type GuardedProcess, startGuardedProcess } from './guarded-process.ts';
import { type EnvoySocket, openEnvoySocket } from './socket.ts';

export interface SupervisorOptions {
  readonly envoy: EnvoyBinary;
  /** The agent's private directory. */
  readonly directory: string;
  /** The socket from which Envoy requests its configuration and secrets. It is closed together with Envoy. */
  readonly socket: EnvoySocket;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/**
 * The number of Envoy's worker threads. A single thread can carry more traffic than an edge accepts from a workspace,
 * and every thread opens its own tunnels.
 */
const THREADS = '1';
/**
 * How long replaced listeners stay open for existing connections, in seconds, along with the clusters and internal
 * listeners behind them. An Istio sidecar drains for 45 seconds. Envoy keeps every replaced listener for the full time,
 * even if it has no connections. This costs 30 kB, plus a file descriptor if the listener was changed in place
 * (decision 41).
 */
export const DRAIN_SECONDS = 3_600;
/**
 * Command-line arguments that control how a listener drains after it was replaced, for example because a new grant
 * includes its port. TCP connections may stay open for an hour. HTTP connections end with their next response, so that
 * programs soon use the new listener.
 */
export const DRAIN_ARGUMENTS = ['--drain-time-s', String(DRAIN_SECONDS), '--drain-strategy', 'immediate'] as const;
/** Makes Envoy log warnings, except those about work-in-progress APIs, which it would repeat on every update. */
const LOG = ['--log-level', 'warning', '--component-log-level', 'misc:error'];
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 5_000;
/** How long Envoy must run before its exit no longer counts as a failed start, in milliseconds. */
const SETTLED = 10_000;
const READY_POLL = 10;
/** How long `close` waits for open requests, in milliseconds. */
const DRAIN = 2_000;
const MAX_LINE = 500;
const LINES_PER_MINUTE = 60;

/**
 * Starts Envoy (which takes about 100 ms) in parallel with the first broker request. Envoy then waits for its
 * configuration.
 * @param directory the agent's private directory
 */
export async function launchEnvoy(
  envoy: EnvoyBinary,
  { directory, log }: Pick<SupervisorOptions, 'directory' | 'log'>,
): Promise<EnvoySupervisor> {
  const socket = await openEnvoySocket(join(directory, 'envoy.sock'));
  const supervisor = new EnvoySupervisor({ envoy, directory, socket, log });
  supervisor.start();
  return supervisor;
}

export class EnvoySupervisor {
  readonly #options: SupervisorOptions;
  readonly admin: EnvoyAdmin;
  readonly socket: EnvoySocket;
  /** The Unix socket for requests that make Envoy open its tunnels. */
  readonly warmUpSocket: string;
  readonly #adminSocket: string;
  #process: GuardedProcess | undefined;
  #closed = false;
  #restarts = 0;
  #lastEnd: string | undefined;
  #ended: () => void = () => {};
  #lines = { minute: 0, count: 0 };

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.socket = options.socket;
    this.warmUpSocket = join(options.directory, 'warm-up.sock');
    this.#adminSocket = join(options.directory, 'admin.sock');
    this.admin = new EnvoyAdmin(this.#adminSocket);
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The state of the process. `lastEnd` describes how the previous process ended, if there was one. */
  get status() {
    const [pid, lastEnd] = [this.pid, this.#lastEnd];
    return {
      version: this.#options.envoy.version,
      restarts: this.#restarts,
      ...(pid !== undefined && { pid }),
      ...(lastEnd !== undefined && { lastEnd }),
    };
  }

  /**
   * @param ended called immediately when Envoy ends on its own, because other users of this machine could then take
   *   over its addresses
   */
  onEnded(ended: () => void): void {
    this.#ended = ended;
  }

  start(): void {
    void this.#run();
  }

  /**
   * Waits until Envoy has its first configuration and is listening.
   * @param within the maximum time to wait, in milliseconds
   * @returns true if Envoy is ready
   */
  async ready(within: number): Promise<boolean> {
    for (const end = performance.now() + within; !this.#closed && performance.now() < end; await sleep(READY_POLL)) {
      if (await this.admin.isReady()) return true;
    }
    return false;
  }

  /** Waits briefly for open requests to complete, then stops Envoy. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#process) await this.admin.drain(DRAIN).catch(() => {}); // if Envoy does not respond, it cannot be drained
    this.#process?.kill();
    await this.#process?.ended;
    this.socket.close();
  }

  async #run(): Promise<void> {
    for (let pause = FIRST_PAUSE; !this.#closed; ) {
      const started = performance.now();
      // A full disk or process table must not end the agent. Traffic resumes as soon as space is available again.
      const how = await this.#once().catch(
        (error: NodeJS.ErrnoException) => `not started: ${error.code ?? error.message}`,
      );
      if (this.#closed) return;
      this.#ended();
      this.#restarts += 1;
      this.#lastEnd = how;
      this.#options.log('envoy_ended', { how });
      if (performance.now() - started > SETTLED) pause = FIRST_PAUSE;
      await sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  /**
   * Runs Envoy until it ends.
   * @returns a description of how Envoy ended
   * @throws Error if Envoy cannot be started
   */
  async #once(): Promise<string> {
    const { envoy, directory } = this.#options;
    const file = join(directory, 'envoy.json');
    // Both files are recreated each time, because files from an earlier run could have any content.
    rmSync(this.#adminSocket, { force: true });
    writeFileSync(file, createBootstrap({ agentSocket: this.socket.path, adminSocket: this.#adminSocket }), {
      mode: 0o600,
    });
    // Hot restarts are disabled, because they use shared memory that other Envoy processes on this machine would share.
    const argv = [
      envoy.path,
      '--config-path',
      file,
      '--disable-hot-restart',
      '--concurrency',
      THREADS,
      ...DRAIN_ARGUMENTS,
    ];
    // The agent's environment is not passed on, because it contains the tokens of a Codespace. Envoy does not need it,
    // and some of its log formats can read it.
    this.#process = startGuardedProcess([...argv, ...LOG], (line) => this.#line(line), { PATH: process.env.PATH });
    return this.#process.ended;
  }

  /** Logs Envoy's output, limited to as many lines as a person can read. */
  #line(text: string): void {
    const minute = Math.floor(performance.now() / 60_000);
    if (minute !== this.#lines.minute) this.#lines = { minute, count: 0 };
    this.#lines.count += 1;
    if (this.#lines.count <= LINES_PER_MINUTE) this.#options.log('envoy', { line: plainText(text.slice(0, MAX_LINE)) });
  }
}
