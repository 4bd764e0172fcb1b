/**
 * Answers the broker on a port of this workspace: GitHub's port forwarding brings its request here, and to nowhere else. The agent
 * listens before it asks for a session, and says so. A broker that does not know that gives a challenge first. The listener answers
 * for one exchange at a time, a few requests at most, and is closed as soon as the exchange is over.
 */

import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { offeredPath } from '@meshpass/identity/presence';
import type { PresenceChallenge } from '@meshpass/identity/wire';
import { createServer } from '../http.ts';

export interface PresenceListener {
  readonly port: number;
  /** From now on the first GET of this path gets this answer, and nothing else gets anything. */
  expect(path: string, answer: string): void;
  /**
   * From now on a GET of a path that is a nonce gets its answer, four times at most: another program of the workspace that asks
   * first must not take the broker's turn. What it learns is of use to this exchange alone.
   */
  offer(answer: (nonce: string) => string): void;
  close(): void;
}

/** What an exchange says. */
export interface PresenceAnswer {
  readonly port: number;
  /** Of the challenge whose answer waits there; absent: the agent listens there for whatever the broker asks now. */
  readonly nonce?: string;
  /** To be told the DPoP proof of the exchange before it is sent. */
  readonly onProof?: (dpop: string) => void;
}

/** What an answer is for. */
export type Asked = Pick<PresenceChallenge, 'nonce' | 'path' | 'expires_in'> & { readonly dpop?: string };

export interface PresenceOptions {
  /** 0 for any free one. */
  readonly port: number;
  /** Signs the answer to a challenge. */
  readonly sign: (asked: Asked) => string;
  /** Milliseconds between two tries. */
  readonly pause?: number;
  /** Told on which port the broker is answered. */
  readonly onChallenge?: ((port: number) => void) | undefined;
}

const MAX_CONNECTIONS = 8;
const REQUEST_MS = 5_000;
const OFFERED_ANSWERS = 4;
const OFFERED_SECONDS = 60;
const OFFERED_PATH = /^\/([A-Za-z0-9_-]{43})$/;
/** GitHub has to notice a port before it forwards it. */
const TRIES = 5;
const PAUSE_MS = 1_000;
/** Another try may bring what this one did not; a wrong answer stays wrong. */
const WORTH_ANOTHER = new Set(['presence_unanswered', 'presence_challenge_unknown']);

/**
 * Opens a session where the broker may want to see that we are in the workspace.
 * @param exchange the exchange, with what it is to say of presence
 * @throws MeshpassError as the exchange does
 */
export async function withPresence<T>(
  exchange: (answer?: PresenceAnswer) => Promise<T>,
  { port, sign, pause = PAUSE_MS, onChallenge }: PresenceOptions,
): Promise<T> {
  // A port that is taken matters only to a broker that wants to see us.
  let listener = await startPresenceListener(port).catch(() => undefined);
  const offered = (): PresenceAnswer | undefined =>
    listener && { port: listener.port, onProof: (dpop) => offer(listener!, dpop) };
  const offer = ({ offer, port }: PresenceListener, dpop: string) =>
    offer((nonce) => {
      onChallenge?.(port);
      return sign({ nonce, path: offeredPath(nonce), expires_in: OFFERED_SECONDS, dpop });
    });
  const challenged = async (challenge: PresenceChallenge) => {
    listener ??= await startPresenceListener(port);
    listener.expect(challenge.path, sign(challenge));
    onChallenge?.(listener.port);
    return await exchange({ nonce: challenge.nonce, port: listener.port });
  };
  try {
    // The same port for every try: it is what GitHub has to notice.
    for (let left = TRIES; ; ) {
      try {
        // The last try asks for a challenge: nobody else knows its path, so nobody else can use up the answer.
        const first = await exchange(left > 1 ? offered() : undefined).then(
          (value) => ({ value }),
          (thrown: unknown) => ({ challenge: challengeIn(thrown) }),
        );
        return 'value' in first ? first.value : await challenged(first.challenge);
      } catch (thrown) {
        left -= 1;
        if (left === 0 || !(thrown instanceof MeshpassError) || !WORTH_ANOTHER.has(thrown.code)) throw thrown;
        await sleep(pause);
      }
    }
  } finally {
    listener?.close();
  }
}

/** @throws what is no challenge */
function challengeIn(thrown: unknown): PresenceChallenge {
  if (thrown instanceof MeshpassError && thrown.code === 'presence_required' && thrown.members.presence)
    return thrown.members.presence as PresenceChallenge;
  throw thrown;
}

/**
 * On 127.0.0.1 only.
 * @param port 0 for any free one
 * @throws MeshpassError `config_invalid` where the port is taken
 */
export async function startPresenceListener(port: number): Promise<PresenceListener> {
  let answerTo: (path: string) => string | undefined = () => undefined;
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    request.resume();
    response.setHeader('connection', 'close');
    const answer = request.method === 'GET' ? answerTo(request.url ?? '') : undefined;
    if (answer === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'application/jwt', 'cache-control': 'no-store' }).end(answer);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new MeshpassError('config_invalid', `Port ${port} of this workspace is taken; set another --presence-port.`, {
          cause,
        }),
      ),
    );
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    expect: (path, answer) => {
      answerTo = limited(1, (asked) => (asked === path ? answer : undefined));
    },
    offer: (answer) => {
      answerTo = limited(OFFERED_ANSWERS, (asked) => {
        const nonce = OFFERED_PATH.exec(asked)?.[1];
        return nonce === undefined ? undefined : answer(nonce);
      });
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** So many answers, and no more. */
function limited(most: number, answerTo: (path: string) => string | undefined) {
  let left = most;
  return (path: string) => {
    const answer = left > 0 ? answerTo(path) : undefined;
    if (answer !== undefined) left -= 1;
    return answer;
  };
}
