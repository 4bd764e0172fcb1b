/** A random mixed load: programs that do all at the same time what HTTP allows, each request with an id of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openClients } from './client-calls.ts';
import { type Random, seeded } from './random.ts';
import { abortAnswer, abortRequest, halfClose, pipeline, type Target } from './raw-connections.ts';
import { openTally, type Report, type Sent, type Tally } from './tally.ts';

export interface MixedLoad extends Target {
  readonly seed: number;
  /** At least so many requests. */
  readonly requests: number;
  /** Programs at the same time. */
  readonly programs: number;
}

/** Time after which a request counts as hanging: no answer is requested later than a hundredth of that. */
const HANG_MS = 30_000;

type Act = (make: (kind: string, more?: Readonly<Record<string, string>>) => Sent, random: Random) => Promise<void>;

export async function runMixedLoad({ seed, requests, programs, ...target }: MixedLoad): Promise<Report> {
  const tally = openTally();
  const clients = openClients(target, tally);
  const many = (make: Parameters<Act>[0], kind: string, random: Random): Sent[] =>
    Array.from({ length: 1 + random.below(6) }, () => make(kind));
  const acts: readonly (readonly [weight: number, act: Act])[] = [
    [8, (make, random) => pipeline(target, many(make, 'pipelined', random), random, tally)],
    [3, (make, random) => halfClose(target, many(make, 'half-closed', random), random, tally)],
    [2, (make, random) => abortRequest(target, make('aborted while asking'), random, tally)],
    [2, (make) => abortAnswer(target, make('aborted while answered', { 'x-answer-bytes': '200000' }), tally)],
    [12, (make, random) => clients.http1(make('HTTP/1.1 pool'), random)],
    [2, (make, random) => clients.http1(make('HTTP/1.1 pool, aborted'), random, random.below(10))],
    [1, (make, random) => clients.http1(make('reset by the service', { 'x-reset': 'yes' }), random)],
    [12, (make) => clients.http2(make('HTTP/2'))],
    [3, (make, random) => clients.http2(make('HTTP/2, aborted'), random.below(10))],
  ];
  const bag = acts.flatMap(([weight, act]) => Array.from({ length: weight }, () => act));

  const program = async (number: number): Promise<void> => {
    const random = seeded(seed * 1_000 + number);
    for (let n = 0; tally.total() < requests; n++) {
      const act = random.pick(bag);
      let made = 0;
      let last = 'nothing';
      const make: Parameters<Act>[0] = (kind, more = {}) => {
        const sent = sendable(`${seed}-${number}-${n}-${made++}`, kind, more, random, tally);
        last = `${sent.id} (${kind}, ${sent.method}, ${JSON.stringify(sent.headers)}, ${sent.body.length} bytes)`;
        return sent;
      };
      const hung = Promise.withResolvers<'hung'>();
      const timer = setTimeout(() => hung.resolve('hung'), HANG_MS);
      const began = performance.now();
      const acted = act(make, random);
      if ((await Promise.race([acted, hung.promise])) === 'hung') {
        const ended = await Promise.race([acted.then(() => true), sleep(HANG_MS, false)]);
        if (ended) tally.delay(`${last} ended after ${Math.round(performance.now() - began)} ms`);
        else tally.hang(`${last} did not end`);
      }
      clearTimeout(timer);
    }
  };
  await Promise.all(Array.from({ length: programs }, (_, number) => program(number)));
  clients.close();
  return tally.report();
}

function sendable(id: string, kind: string, more: object, random: Random, tally: Tally): Sent {
  const method = random.pick(['GET', 'GET', 'POST', 'PUT', 'DELETE']);
  const body = method === 'POST' || method === 'PUT' ? random.bytes(random.pick([0, 1, 100, 5_000, 40_000])) : EMPTY;
  const headers: Record<string, string> = { 'x-call-id': id, ...more };
  if (random.below(4) === 0) headers['x-delay-ms'] = String(random.below(40));
  if (random.below(5) === 0) headers['x-answer-bytes'] ??= String(random.below(100_000));
  if (random.below(8) === 0) headers['x-status'] = random.pick(['201', '404', '409', '500']);
  const sent = { id, method, path: `/mixed/${id}`, headers, body };
  tally.send(kind, sent);
  return sent;
}

const EMPTY = Buffer.alloc(0);
