/**
 * Answers challenges from the broker on a port of this workspace. The broker's request can only reach that port through
 * GitHub's port forwarding. The agent starts listening before it requests a session, and announces this in the request.
 * A broker that does not support the announcement sends a challenge first. The listener serves one exchange at a time
 * with only a few responses, and closes as soon as the exchange is complete.
 */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError, presencePath } from '@meshpass/identity';
import type { PresenceChallenge } from '@meshpass/identity/wire';
import { createServer } from '../http.ts';

type PresenceListener = Awaited<ReturnType<typeof startPresenceListener>>;

/** The presence parameters of a single exchange. */
export interface PresenceParameters {
  readonly port: number;
  /**
   * The nonce of the challenge for which an answer is available. Absent if the agent answers any nonce that the broker
   * chooses.
   */
  readonly nonce?: string;
  /** Called with the DPoP proof of the exchange before the exchange is sent. */
  readonly onProof?: (dpop: string) => void;
}

/** The parts of a challenge that are needed to sign the answer. */
export type SignableChallenge = Pick<PresenceChallenge, 'nonce' | 'path' | 'expires_in'> & { readonly dpop?: string };

export interface PresenceOptions {
  /** The port to listen on, or 0 for any free port. */
  readonly port: number;
  /** Creates the signed answer to a challenge. */
  readonly sign: (asked: SignableChallenge) => string;
  /** How long to wait before another attempt to open the session, in milliseconds. */
  readonly pause?: number;
  /** Called with the port before the broker's challenge is answered. */
  readonly onChallenge?: ((port: number) => void) | undefined;
}

const MAX_CONNECTIONS = 8;
const REQUEST_MS = 5_000;
const OFFERED_ANSWERS = 4;
const OFFERED_SECONDS = 60;
const OFFERED_PATH = /^\/([A-Za-z0-9_-]{43})$/;
/**
 * The number of attempts to open the session. More than one may be needed, because GitHub only forwards a port once it
 * has detected it.
 */
const TRIES = 5;
const PAUSE_MS = 1_000;
/** The error codes after which another attempt may succeed. They do not include the code for a wrong answer. */
const WORTH_ANOTHER = new Set(['presence_unanswered', 'presence_challenge_unknown']);

/**
 * Opens a session with a broker that may require proof that the agent runs in the workspace.
 * @param exchange performs the exchange with the given presence parameters
 * @throws MeshpassError like `exchange`
 */
export async function withPresence<T>(
  exchange: (answer?: PresenceParameters) => Promise<T>,
  { port, sign, pause = PAUSE_MS, onChallenge }: PresenceOptions,
): Promise<T> {
  // A port that is already in use only matters if the broker requires presence.
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
    // All attempts use the same port, because GitHub must detect it first.
    for (let left = TRIES; ; ) {
      try {
        // The last attempt requests a challenge. Other programs do not know its path, so they cannot use up the answer.
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

/**
 * Returns the challenge that a refusal contains.
 * @throws the error itself if it contains no challenge
 */
function challengeIn(thrown: unknown): PresenceChallenge {
  if (thrown instanceof MeshpassError && thrown.code === 'presence_required' && thrown.members.presence)
    return thrown.members.presence as PresenceChallenge;
  throw thrown;
}

/**
 * Starts the presence listener, which only listens on 127.0.0.1.
 * @param port the port to listen on, or 0 for any free port
 * @throws MeshpassError `config_invalid` if the port is already in use
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
    /** Replaces the handler. The first GET request for the path receives the answer. All other requests receive 404. */
    expect: (path: string, answer: string) => {
      answerTo = limited(1, (asked) => (asked === path ? answer : undefined));
    },
    /**
     * Replaces the handler. A GET request whose path is a nonce receives the answer for that nonce, at most four times.
     * This way, another program in the workspace that asks first cannot use up the answer meant for the broker. Such an
     * answer is only valid for this exchange.
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

/** Limits how many times a handler may answer. */
function limited(most: number, answerTo: (path: string) => string | undefined) {
  let left = most;
  return (path: string) => {
    const answer = left > 0 ? answerTo(path) : undefined;
    if (answer !== undefined) left -= 1;
    return answer;
  };
}
