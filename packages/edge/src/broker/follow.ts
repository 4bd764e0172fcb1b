/**
 * Keeps a session directory up to date with the broker's HTTPS stream, or with a broker that runs in the same process.
 */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLineReader } from '@meshpass/identity';
import { CONTROL_HEADER, EdgeEvent } from '@meshpass/identity/channel';
import type { SessionDirectory } from '../directory.ts';
import { type EdgeLog, SILENT_LOG } from '../log.ts';
import { type BrokerAccess, createBrokerRequester } from './client.ts';

/** The maximum length of a line, in bytes. This is enough for a snapshot of about fifty thousand sessions. */
const MAX_LINE = 64 * 1024 * 1024;
/**
 * How long the edge waits for a message before it tries another connection, in milliseconds. The broker sends a beat
 * every 2 seconds.
 */
const SILENCE_MS = 8_000;
/**
 * The minimum time between two log lines about the same failure, in milliseconds. The edge itself retries every second.
 */
const REPETITION_MS = 60_000;
const BACKOFF_MS = { first: 100, most: 1_000 } as const;

export interface FollowOptions extends BrokerAccess {
  readonly directory: SessionDirectory;
  readonly log?: EdgeLog;
  /** Returns a random number between 0 and 1, which is used for jitter. */
  readonly random?: () => number;
  readonly silenceMs?: number;
}

export type FollowHandle = ReturnType<typeof followBroker>;

/**
 * Follows `GET /edge/stream` (an NDJSON stream of EdgeEvents) until it is closed. Every connection starts with a
 * snapshot. After a failure, the edge reconnects with an increasing, jittered delay. An invalid line ends the
 * connection, so that no event is skipped.
 *
 * If a broker stops sending beats, the edge keeps following it until another broker has sent a snapshot. The silent
 * broker may be the only one, and it announces ended sessions even if its store is unavailable.
 */
export function followBroker(options: FollowOptions) {
  const { directory, log = SILENT_LOG, random = Math.random, silenceMs = SILENCE_MS } = options;
  const ask = createBrokerRequester(options);
  const stop = new AbortController();
  const readings = new Set<Promise<void>>();
  const done = run();
  return {
    /** Stops following the broker. Resolves once the connection has been closed. */
    async close() {
      stop.abort();
      await done;
      await Promise.all(readings);
    },
  };

  async function run(): Promise<void> {
    let pause: number = BACKOFF_MS.first;
    let last: Reading | undefined;
    const warn = (error: Error) => log.warn({ err: error }, 'no broker is serving the stream');
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

  /** Opens a stream. Resolves when the first snapshot arrives. From that point on, the previous stream is ignored. */
  async function begin(before: Reading | undefined): Promise<Reading> {
    const ended = new AbortController();
    const signal = AbortSignal.any([stop.signal, ended.signal]);
    const headers = { [CONTROL_HEADER]: '2' };
    const answer = await ask('/edge/stream', { silenceMs, signal, headers });
    const started = Promise.withResolvers<void>();
    const quiet = Promise.withResolvers<void>();
    let silence: NodeJS.Timeout | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(quiet.resolve, silenceMs).unref();
    };
    const read = async () => {
      let isFirst = true;
      for await (const event of eventsOf(answer, signal)) {
        if (isFirst) {
          before?.end();
          // From here on, the socket timeout no longer closes a silent connection.
          answer.setTimeout(0);
        }
        directory.apply(event);
        if (isFirst) log.info({ sessions: directory.size() }, 'the edge follows the broker');
        isFirst = false;
        started.resolve();
        // After a long silence, for example because the machine was asleep, only a snapshot is valid. Only new
        // connections start with one.
        if (directory.state() === 'abandoned') throw new Error('the stream was silent for too long');
        if (SIGNS_OF_LIFE.includes(event.type)) heard();
      }
    };
    const reading = read().catch((error) => {
      started.reject(error);
      quiet.resolve();
      answer.destroy();
      if (!signal.aborted) log.warn({ err: error }, 'the stream from the broker broke');
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

const SIGNS_OF_LIFE: readonly EdgeEvent['type'][] = ['snapshot', 'beat'];

/**
 * Yields the events of a stream until the signal is aborted.
 * @throws Error if a line is invalid, the first event is not a snapshot, or the broker ends the stream
 */
async function* eventsOf(answer: IncomingMessage, signal: AbortSignal): AsyncGenerator<EdgeEvent> {
  const reader = createLineReader(() => MAX_LINE);
  let isFirst = true;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    const lines: string[] = [];
    if (!reader.push(chunk, (line) => lines.push(line))) throw new Error(`a line is longer than ${MAX_LINE} bytes`);
    for (const line of lines.filter(Boolean)) {
      const event = EdgeEvent.parse(JSON.parse(line));
      if (signal.aborted) return;
      if (isFirst && event.type !== 'snapshot') throw new Error('the stream does not start with a snapshot');
      isFirst = false;
      yield event;
    }
  }
  throw new Error('the broker ended the stream');
}

/** Logs a failure if it differs from the previous one. A repeated failure is logged at most once a minute. */
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
  /** Resolves when the stream has ended, or when a beat from the broker is overdue. */
  readonly quiet: Promise<void>;
  readonly end: () => void;
}

/**
 * Keeps a directory up to date with the feed of a broker that runs in the same process. Each subscription starts with a
 * snapshot. After a long silence, for example because the machine was asleep, it subscribes again, because only a
 * snapshot is valid then.
 * @param subscribe registers a listener that is called with every event, and returns a function that unsubscribes it
 * @returns a function that stops updating the directory
 */
export function followFeed(
  subscribe: (listener: (event: EdgeEvent) => void) => () => void,
  directory: SessionDirectory,
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
