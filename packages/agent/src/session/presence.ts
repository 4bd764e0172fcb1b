/**
 * Answers the broker on a port of this workspace, which the broker's request can reach only through GitHub's port
 * forwarding. The agent listens before it requests a session and announces this in the request. A broker without
 * support for it sends a challenge first. The listener serves one exchange at a time with at most a few responses, and
 * closes as soon as the exchange is complete.
 */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { presencePath } from '@meshpass/identity/presence';
import type { PresenceChallenge } from '@meshpass/identity/wire';
import { createServer } from '../http.ts';

export type PresenceListener = Awaited<ReturnType<typeof startPresenceListener>>;

/** Presence parameters of an exchange. */
export interface PresenceParameters {
  readonly port: number;
  /**
   * Nonce of the challenge whose answer is available. Absent if the agent answers any nonce that the broker chooses.
   */
  readonly nonce?: string;
  /** Called with the exchange's DPoP proof before it is sent. */
  readonly onProof?: (dpop: string) => void;
}

/** Challenge to sign. */
export type SignableChallenge = Pick<PresenceChallenge, 'nonce' | 'path' | 'expires_in'> & { readonly dpop?: string };

export interface PresenceOptions {
  /** Port, or 0 for any free port. */
  readonly port: number;
  /** Signs the answer to a challenge. */
  readonly sign: (asked: SignableChallenge) => string;
  /** Pause between two attempts, ms. */
  readonly pause?: number;
  /** Called with the port before the broker is answered. */
  readonly onChallenge?: ((port: number) => void) | undefined;
}

const MAX_CONNECTIONS = 8;
const REQUEST_MS = 5_000;
const OFFERED_ANSWERS = 4;
const OFFERED_SECONDS = 60;
const OFFERED_PATH = /^\/([A-Za-z0-9_-]{43})$/;
/** Number of attempts: GitHub must detect a port before it forwards it. */
const TRIES = 5;
const PAUSE_MS = 1_000;
/** Codes of failures that another attempt may fix. A wrong answer is not one of them. */
const WORTH_ANOTHER = new Set(['presence_unanswered', 'presence_challenge_unknown']);

/**
 * Opens a session with a broker that may require proof that the agent is in the workspace.
 * @param exchange performs the exchange with the given presence parameters
 * @throws MeshpassError like the exchange
 */
export async function withPresence<T>(
  exchange: (answer?: PresenceParameters) => Promise<T>,
  { port, sign, pause = PAUSE_MS, onChallenge }: PresenceOptions,
): Promise<T> {
  // A port that is in use matters only if the broker requires presence.
  let listener = await startPresenceListener(port).catch(() => undefined);
  const offered = (): PresenceParameters | undefined =>
    listener && { port: listener.port, onProof: (dpop) => offer(listener!, dpop) };
  const offer = ({ offer, port }: PresenceListener, dpop: string) =>
    offer((nonce) => {
      onChallenge?.(port);
      return sign({ nonce, path: presencePath(nonce), expires_in: OFFERED_SECONDS, dpop });
    });
  const challenged = async (challenge: PresenceChallenge) => {
    listener ??= await startPresenceListener(port);
    listener.expect(challenge.path, sign(challenge));
    onChallenge?.(listener.port);
    return await exchange({ nonce: challenge.nonce, port: listener.port });
  };
  try {
    // All attempts use the same port, since GitHub must detect it.
    for (let left = TRIES; ; ) {
      try {
        // The last attempt requests a challenge. No other program knows its path, so none can use up the answer.
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

/** Returns the challenge in a refusal. @throws the error itself if it contains none */
function challengeIn(thrown: unknown): PresenceChallenge {
  if (thrown instanceof MeshpassError && thrown.code === 'presence_required' && thrown.members.presence)
    return thrown.members.presence as PresenceChallenge;
  throw thrown;
}

/**
 * Starts the listener, on 127.0.0.1 only.
 * @param port 0 for any free port
 * @throws MeshpassError `config_invalid` if the port is in use
 */
export async function startPresenceListener(port: number) {
  let answerTo: (path: string) => string | undefined = () => undefined;
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    request.resume();
    response.setHeader('connection', 'close');
    const answer = request.method === 'GET' ? answerTo(request.url ?? '') : undefined;
    if (answer === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'application/jwt', 'cache-control': 'no-store' }).end(answer);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await once(server.listen(port, '127.0.0.1'), 'listening').catch((cause) => {
    const message = `Port ${port} is already in use in this workspace. Set a different --presence-port.`;
    throw new MeshpassError('config_invalid', message, { cause });
  });
  return {
    port: (server.address() as AddressInfo).port,
    /** Replaces the handler. The first GET of this path receives this answer, and all other requests receive 404. */
    expect: (path: string, answer: string) => {
      answerTo = limited(1, (asked) => (asked === path ? answer : undefined));
    },
    /**
     * Replaces the handler. A GET whose path is a nonce receives the nonce's answer, at most four times, so that another
     * program in the workspace that asks first cannot use up the broker's turn. Such an answer is valid only for this
     * exchange.
     */
    offer: (answer: (nonce: string) => string) => {
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

/** Limits the number of answers. */
function limited(most: number, answerTo: (path: string) => string | undefined) {
  let left = most;
  return (path: string) => {
    const answer = left > 0 ? answerTo(path) : undefined;
    if (answer !== undefined) left -= 1;
    return answer;
  };
}
