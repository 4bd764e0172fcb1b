/** Keeps an Envoy running: starts it, starts it again when it ends, drains and ends it. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { plainText } from '@meshpass/identity/text';
import { EnvoyAdmin } from './admin.ts';
import { bootstrap } from './bootstrap.ts';
import { DRAIN_SECONDS } from './drain-time.ts';
import type { FoundEnvoy } from './find.ts';
import { type GuardedProcess, startGuarded } from './guarded-process.ts';

export interface SupervisorOptions {
  readonly envoy: FoundEnvoy;
  /** A directory that is ours alone. */
  readonly directory: string;
  readonly agentSocket: string;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/** Threads that carry traffic: one moves more than an edge takes from one workspace, and each keeps tunnels of its own. */
const THREADS = '1';
/**
 * Where a listener is another one, because the session gained a grant on its port: connections of TCP stay for an hour, and those of HTTP end
 * with their next answer, so that programs that keep them soon come by the new listener.
 */
export const DRAINING = ['--drain-time-s', String(DRAIN_SECONDS), '--drain-strategy', 'immediate'] as const;
/** Warnings, but not about what of its configuration Envoy calls work in progress: it would say so with every update. */
const LOG = ['--log-level', 'warning', '--component-log-level', 'misc:error'];
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 5_000;
/** One that ran for this long did not fail because of how it was started. */
const SETTLED = 10_000;
const READY_POLL = 10;
/** Longest that `close` waits for requests under way, ms. */
const DRAIN = 2_000;
const MAX_LINE = 500;
const LINES_PER_MINUTE = 60;

export class EnvoySupervisor {
  readonly #options: SupervisorOptions;
  readonly admin: EnvoyAdmin;
  readonly #adminSocket: string;
  #process: GuardedProcess | undefined;
  #closed = false;
  #restarts = 0;
  #lastEnd: string | undefined;
  #lines = { minute: 0, count: 0 };

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#adminSocket = join(options.directory, 'admin.sock');
    this.admin = new EnvoyAdmin(this.#adminSocket);
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  get version(): string {
    return this.#options.envoy.version;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** How the last one ended; undefined while the first runs. */
  get lastEnd(): string | undefined {
    return this.#lastEnd;
  }

  start(): void {
    void this.#run();
  }

  /**
   * Waits until Envoy has its first configuration and listens.
   * @param within milliseconds
   * @returns whether it is ready
   */
  async ready(within: number): Promise<boolean> {
    for (const end = performance.now() + within; !this.#closed && performance.now() < end; await sleep(READY_POLL)) {
      if (await this.admin.isReady()) return true;
    }
    return false;
  }

  /** Lets requests under way finish, for a moment, and ends Envoy. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const running = this.#process;
    if (!running) return;
    await this.admin.drain(DRAIN).catch(() => {}); // where it does not answer, there is nothing to drain
    running.kill();
    await running.ended;
  }

  async #run(): Promise<void> {
    for (let pause = FIRST_PAUSE; !this.#closed; ) {
      const started = performance.now();
      // A full disk, or no process left, must not end the agent: its traffic begins again when there is room.
      const how = await this.#once().catch(
        (error: NodeJS.ErrnoException) => `not started: ${error.code ?? error.message}`,
      );
      if (this.#closed) return;
      this.#restarts += 1;
      this.#lastEnd = how;
      this.#options.log('envoy_ended', { how });
      if (performance.now() - started > SETTLED) pause = FIRST_PAUSE;
      await sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  /** @returns how it ended. @throws Error where it cannot be started */
  async #once(): Promise<string> {
    const { envoy, directory, agentSocket } = this.#options;
    const file = join(directory, 'envoy.json');
    // Made anew each time: of an earlier run they may be anything.
    rmSync(this.#adminSocket, { force: true });
    writeFileSync(file, bootstrap({ agentSocket, adminSocket: this.#adminSocket }), { mode: 0o600 });
    // Envoy's shared memory for hot restarts is one per machine, and is not used.
    const argv = [envoy.path, '--config-path', file, '--disable-hot-restart', '--concurrency', THREADS, ...DRAINING];
    // Nothing of the agent's environment, where a Codespace keeps its tokens: Envoy needs none, and has formats that read it.
    this.#process = startGuarded([...argv, ...LOG], (line) => this.#line(line), { PATH: process.env.PATH });
    return this.#process.ended;
  }

  /** What Envoy says goes to the agent's log, as much of it as a person would read. */
  #line(text: string): void {
    const minute = Math.floor(performance.now() / 60_000);
    if (minute !== this.#lines.minute) this.#lines = { minute, count: 0 };
    this.#lines.count += 1;
    if (this.#lines.count <= LINES_PER_MINUTE) this.#options.log('envoy', { line: plainText(text.slice(0, MAX_LINE)) });
  }
}
