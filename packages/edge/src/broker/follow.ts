/** Feeds a directory: from the broker's stream over HTTPS, or from the broker in the same process. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EdgeEvent } from '@meshpass/identity';
import { CONTROL_HEADER } from '@meshpass/identity/channel/edge-wire';
import type { Directory } from '../directory.ts';
import { type EdgeLog, SILENT } from '../log.ts';
import { type BrokerAccess, brokerAsker } from './ask-broker.ts';
import { readLines } from './lines.ts';

/** Longest line of the stream, bytes: a snapshot of some fifty thousand sessions. */
const MAX_LINE = 64 * 1024 * 1024;
/** Silence after which another connection is tried, ms. The broker beats every 2 s. */
const SILENCE_MS = 8_000;
/** A broker that is away is asked every second; its absence is told less often, ms. */
const REPETITION_MS = 60_000;
const BACKOFF_MS = { first: 100, most: 1_000 } as const;

export interface FollowOptions extends BrokerAccess {
  readonly directory: Directory;
  readonly log?: EdgeLog;
  /** 0 to 1, for the jitter. */
  readonly random?: () => number;
  readonly silenceMs?: number;
}

export interface Following {
  /** Stops following; resolves when the connection is gone. */
  close(): Promise<void>;
}

/**
 * Follows `GET /edge/stream` (NDJSON of EdgeEvent) for ever: each connection starts with a snapshot, and after a break it
 * connects again with a jittered, growing pause. A line that cannot be read ends the connection: nothing is skipped.
 *
 * A broker that does not beat is not given up before another one has given a snapshot: it may be the only one, and unable to
 * reach its store, and it still tells what ends.
 */
export function followBroker(options: FollowOptions): Following {
  const { directory, log = SILENT, random = Math.random, silenceMs = SILENCE_MS } = options;
  const ask = brokerAsker(options);
  const stop = new AbortController();
  const readings = new Set<Promise<void>>();
  const done = run();
  return {
    async close() {
      stop.abort();
      await done;
      await Promise.all(readings);
    },
  };

  async function run(): Promise<void> {
    let pause: number = BACKOFF_MS.first;
    let last: Reading | undefined;
    const warn = (error: Error) => log.warn({ err: error }, 'no broker gives the stream');
    let tellFailure = withoutRepetition(warn);
    while (!stop.signal.aborted) {
      try {
        last = await begin(last);
        pause = BACKOFF_MS.first;
        tellFailure = withoutRepetition(warn);
        await last.quiet;
      } catch (error) {
        if (stop.signal.aborted) return;
        tellFailure(error as Error);
        pause = Math.min(BACKOFF_MS.most, pause * 2);
      }
      await sleep(pause * (0.5 + random()), undefined, { signal: stop.signal, ref: false }).catch(() => {});
    }
  }

  /** Resolves with the first snapshot, from which moment on the stream before is not read any more. */
  async function begin(before: Reading | undefined): Promise<Reading> {
    const ended = new AbortController();
    const signal = AbortSignal.any([stop.signal, ended.signal]);
    const headers = { [CONTROL_HEADER]: '2' };
    const answer = await ask('/edge/stream', { silenceMs, signal, headers });
    const started = Promise.withResolvers<void>();
    const quiet = Promise.withResolvers<void>();
    let silence: NodeJS.Timeout | undefined;
    const read = async () => {
      let isFirst = true;
      for await (const line of readLines(answer, MAX_LINE)) {
        const event = EdgeEvent.parse(JSON.parse(line));
        if (signal.aborted) return;
        if (isFirst) {
          if (event.type !== 'snapshot') throw new Error('the stream does not start with a snapshot');
          before?.end();
          // From here on silence is no reason to hang up.
          answer.setTimeout(0);
        }
        directory.apply(event);
        if (isFirst) log.info({ sessions: directory.size() }, 'the edge follows the broker');
        isFirst = false;
        started.resolve();
        // After too long a silence (the machine slept) only a snapshot counts, and only a new connection brings one.
        if (directory.state() === 'abandoned') throw new Error('the stream was silent for too long');
        if (event.type !== 'snapshot' && event.type !== 'beat') continue;
        clearTimeout(silence);
        silence = setTimeout(quiet.resolve, silenceMs).unref();
      }
      throw new Error('the broker ended the stream');
    };
    const reading = read().catch((error) => {
      started.reject(error);
      quiet.resolve();
      answer.destroy();
      if (!signal.aborted) log.warn({ err: error }, 'the stream of the broker broke');
    });
    readings.add(reading);
    void reading.then(() => {
      clearTimeout(silence);
      readings.delete(reading);
    });
    await started.promise;
    return { quiet: quiet.promise, end: () => ended.abort() };
  }
}

/** Tells of a failure when it is another than the last one, and otherwise once a minute. */
function withoutRepetition(tell: (error: Error) => void): (error: Error) => void {
  let last = { message: '', at: Number.NEGATIVE_INFINITY };
  return (error) => {
    const at = performance.now();
    if (error.message === last.message && at - last.at < REPETITION_MS) return;
    last = { message: error.message, at };
    tell(error);
  };
}

interface Reading {
  /** Resolves when the stream has ended, or the broker has not beaten for too long. */
  readonly quiet: Promise<void>;
  readonly end: () => void;
}

/** Feeds a directory from the same process until the iterable ends. The beats must come this way too. */
export async function followEvents(events: AsyncIterable<EdgeEvent>, directory: Directory): Promise<void> {
  for await (const event of events) directory.apply(event);
}

/**
 * Feeds a directory from the broker's feed in the same process. Each subscription starts with a snapshot; after too long a
 * silence (the process was stopped, the machine slept) it subscribes anew, because then only a snapshot counts.
 * @param subscribe calls the listener with every event, and returns what ends the subscription
 * @returns stops feeding
 */
export function followFeed(
  subscribe: (listener: (event: EdgeEvent) => void) => () => void,
  directory: Directory,
): () => void {
  let stopped = false;
  let end = subscribe(apply);
  return () => {
    stopped = true;
    end();
  };

  function apply(event: EdgeEvent): void {
    directory.apply(event);
    if (directory.state() !== 'abandoned') return;
    queueMicrotask(() => {
      if (stopped || directory.state() !== 'abandoned') return;
      end();
      end = subscribe(apply);
    });
  }
}
