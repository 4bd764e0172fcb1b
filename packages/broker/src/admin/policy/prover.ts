/**
 * Parses and proves access files from callers in a separate process, one at a time, with limits on time and memory. A
 * worker thread would not be enough: if a large allocation exceeds a thread's limit, V8 ends the whole process, and the
 * limit does not include typed arrays.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { MeshpassError } from '@meshpass/identity';
import { type KeyedMutex, runExclusive } from '../../base/index.ts';
import { PROVE_COMMAND, PROVE_NODE_OPTIONS, type ProvenFile, type ProveReply, type ProveRequest } from './proof.ts';

export type Prover = ReturnType<typeof createProver>;

/** The timeout for a request from a caller, in milliseconds. */
const LIMIT_MS = 4_500;
/** The timeout for a proof that the watch requests in the background, in milliseconds. */
export const WATCH_LIMIT_MS = 60_000;
/**
 * How long a request may wait for other requests and for the process to start, as a multiple of the timeout. After
 * that, it fails with `overloaded`.
 */
const MAX_WAIT = 2;
/** The maximum number of waiting and running requests. */
const MAX_REQUESTS = 16;
/** How long the process may be idle before it is ended, in milliseconds. */
const IDLE_MS = 60_000;
/**
 * The memory limit in bytes. V8's own limit does not include typed arrays, so the broker monitors the memory of the
 * whole process.
 */
const MAX_BYTES = 256 * 1024 * 1024;
const OBSERVE_MS = 100;

export interface ProverLimits {
  /** The timeout in milliseconds, counted from when the process receives a request. */
  readonly limitMs?: number;
  /** The maximum resident memory of the process, in bytes. */
  readonly maxBytes?: number;
}

/** Creates the prover, whose process is not started until the first request arrives. */
export function createProver({ limitMs = LIMIT_MS, maxBytes = MAX_BYTES }: ProverLimits = {}) {
  let current: { readonly child: ChildProcess; readonly started: Promise<unknown> } | undefined;
  const mutex: KeyedMutex = new Map();
  let requests = 0;
  let idle: NodeJS.Timeout | undefined;
  let closed = false;

  const end = (): void => {
    clearTimeout(idle);
    current?.child.kill('SIGKILL');
    current = undefined;
  };

  const begin = () => {
    const child = start();
    current = { child, started: nextMessage(child, limitMs * MAX_WAIT) };
    return current;
  };

  /**
   * Runs a request once its turn has come.
   * @param arrived when the request arrived, as returned by `performance.now()`
   */
  const run = async (request: ProveRequest, arrived: number): Promise<ProveReply> => {
    const left = () => limitMs * MAX_WAIT - (performance.now() - arrived);
    if (closed || left() <= 0) throw busy('Other access files are being proven; try again.');
    clearTimeout(idle);
    const { child, started } = current?.child.connected ? current : begin();
    const late = Promise.withResolvers<'late'>();
    const timer = setTimeout(late.resolve, left(), 'late');
    const began = await Promise.race([started, late.promise]);
    clearTimeout(timer);
    if (began === 'late') throw busy('The process that proves access files is still starting; try again.');
    if (!began) {
      end();
      throw busy('The process that proves access files did not start; try again.');
    }
    child.send(request, () => undefined);
    const stopObserving = endIfLarger(child, maxBytes);
    const reply = await nextMessage(child, limitMs);
    const isLarger = stopObserving();
    // V8 aborts the process when its heap is full.
    const exceeded =
      isLarger || child.signalCode === 'SIGABRT' || (child.exitCode === null && child.signalCode === null);
    if (!reply) {
      end();
      // Start the next process now, so that the next request does not have to wait for it.
      if (!closed) begin();
    }
    idle = setTimeout(end, IDLE_MS).unref();
    if (reply) return reply as ProveReply;
    if (closed) throw busy('The broker is stopping; try again.');
    if (exceeded) throw new MeshpassError('policy_too_large', tooLarge(limitMs));
    throw new MeshpassError('internal', 'The process that proves access files ended unexpectedly; try again.');
  };

  const prove = async (request: ProveRequest): Promise<ProvenFile> => {
    if (requests >= MAX_REQUESTS) throw busy('Too many access files are waiting to be proven; try again.');
    requests++;
    const arrived = performance.now();
    try {
      const reply = await runExclusive(mutex, 'prove', () => run(request, arrived));
      if (!('refused' in reply)) return reply;
      const { code, message, detail } = reply.refused;
      throw new MeshpassError(code, message, { detail });
    } finally {
      requests--;
    }
  };

  return {
    /**
     * Proves an access file.
     * @throws MeshpassError `access_*`, `policy_too_large`, `overloaded`, `internal`
     */
    prove,
    close: () => {
      closed = true;
      end();
    },
  };
}

function tooLarge(limitMs: number): string {
  return (
    `Reading and proving this access file exceeds the limit for one change (${limitMs / 1000} seconds, 256 MiB). ` +
    'Shorten its expressions, merge similar path templates, or split the change.'
  );
}

function busy(message: string): MeshpassError {
  return new MeshpassError('overloaded', message, { retryAfter: 5 });
}

/** Starts the process without passing on the broker's environment. */
function start(): ChildProcess {
  const program = isSea()
    ? PROVE_COMMAND
    : fileURLToPath(new URL(`./prove-main${import.meta.url.slice(-3)}`, import.meta.url));
  const child = fork(program, {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: [],
    env: { NODE_OPTIONS: PROVE_NODE_OPTIONS.join(' '), MALLOC_ARENA_MAX: '1' },
  });
  child.unref();
  child.channel?.unref();
  return child;
}

/**
 * Kills the process if it uses more memory than the limit.
 * @returns a function that stops the monitoring and returns whether the limit was exceeded
 */
function endIfLarger(child: ChildProcess, maxBytes: number): () => boolean {
  let isLarger = false;
  const observing = setInterval(() => {
    if (residentBytes(child) <= maxBytes) return;
    isLarger = true;
    child.kill('SIGKILL');
  }, OBSERVE_MS);
  return () => {
    clearInterval(observing);
    return isLarger;
  };
}

/**
 * Returns the resident memory of the process in bytes, or 0 if the process has ended or the system does not have
 * `/proc`.
 */
function residentBytes({ pid }: ChildProcess): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/**
 * Waits for the next message from the process.
 * @returns undefined if the process has ended or did not send a message in time
 */
function nextMessage(child: ChildProcess, milliseconds: number): Promise<unknown> {
  return new Promise((resolve) => {
    const settle = (message?: unknown): void => {
      clearTimeout(late);
      child.off('message', settle).off('exit', gone).off('error', gone);
      resolve(message);
    };
    const gone = (): void => settle();
    const late = setTimeout(gone, milliseconds);
    child.on('message', settle).on('exit', gone).on('error', gone);
  });
}
