/**
 * Answers the broker's challenge on a port of this workspace: GitHub's port forwarding brings the broker's request here, and to
 * nowhere else. The listener serves one path at a time, to one request, and is closed as soon as the exchange is over.
 */

import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import type { PresenceChallenge } from '@meshpass/identity/wire';
import { createServer } from '../http.ts';

export interface PresenceListener {
  readonly port: number;
  /** From now on the first GET of this path gets this answer, and nothing else gets anything. */
  expect(path: string, answer: string): void;
  close(): void;
}

/** What the second exchange says. */
export interface PresenceAnswer {
  readonly nonce: string;
  readonly port: number;
}

export interface PresenceOptions {
  /** 0 for any free one. */
  readonly port: number;
  /** Signs the answer to a challenge. */
  readonly sign: (challenge: PresenceChallenge) => string;
  /** Milliseconds between two tries. */
  readonly pause?: number;
  /** Told on which port a challenge is answered. */
  readonly onChallenge?: ((port: number) => void) | undefined;
}

const MAX_CONNECTIONS = 8;
const REQUEST_MS = 5_000;
/** GitHub has to notice a port before it forwards it. */
const TRIES = 5;
const PAUSE_MS = 1_000;
/** Another try may bring what this one did not; a wrong answer stays wrong. */
const WORTH_ANOTHER = new Set(['presence_unanswered', 'presence_challenge_unknown']);

/**
 * Opens a session where the broker may want to see that we are in the workspace.
 * @param exchange the exchange, without and with an answer to a challenge
 * @throws MeshpassError as the exchange does
 */
export async function withPresence<T>(
  exchange: (answer?: PresenceAnswer) => Promise<T>,
  { port, sign, pause = PAUSE_MS, onChallenge }: PresenceOptions,
): Promise<T> {
  let listener: PresenceListener | undefined;
  try {
    for (let left = TRIES; ; ) {
      const first = await exchange().then(
        (value) => ({ value }),
        (thrown: unknown) => ({ challenge: challengeIn(thrown) }),
      );
      if ('value' in first) return first.value;
      // The same port for every try: it is what GitHub has to notice.
      listener ??= await startPresenceListener(port);
      listener.expect(first.challenge.path, sign(first.challenge));
      onChallenge?.(listener.port);
      try {
        return await exchange({ nonce: first.challenge.nonce, port: listener.port });
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
  let expected: { readonly path: string; readonly answer: string } | undefined;
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    request.resume();
    response.setHeader('connection', 'close');
    if (!expected || request.method !== 'GET' || request.url !== expected.path)
      return void response.writeHead(404).end();
    const { answer } = expected;
    expected = undefined;
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
      expected = { path, answer };
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
