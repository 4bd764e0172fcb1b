/**
 * Presence: proof that the holder of the DPoP key also answers from within the Codespace. A token and a name can be
 * copied elsewhere, but a port of the Codespace cannot.
 *
 * If an exchange contains a port on which its agent already listens, the broker fetches a path of its own choice
 * through GitHub's port forwarding. It accepts only a JWS signed by that key (docs/interfaces/protocol.md). An exchange
 * without a port is refused with a challenge. The agent then listens for it and repeats the exchange with nonce and
 * port.
 */
import { MeshpassError, offeredPath } from '@meshpass/identity';
import { type Clock, type Random, seconds } from '../../base/index.ts';
import type { Shown } from '../../issuers/index.ts';
import { faultOfAnswer } from './answer.ts';
import { type Challenged, createPresenceChallenges } from './challenges.ts';
import { askForwardedPort, type ForwardingOptions } from './forwarded-port.ts';

/**
 * Whether Codespaces must prove their presence. docs/operating-broker.md explains the cost and protection of each mode.
 */
export const PRESENCE_MODES = ['required', 'preferred', 'off'] as const;
export type PresenceMode = (typeof PRESENCE_MODES)[number];

/** Client that presents a proof. */
export interface Presenter {
  /** Thumbprint of the key of the exchange's DPoP proof. */
  readonly jkt: string;
  /** Source address of the request. */
  readonly source: string;
  /** Port on which the workspace answers either the challenge that it received or this exchange's (`exchangeOf`). */
  readonly presence?:
    | { readonly nonce: string; readonly port: number }
    | { readonly exchange: string; readonly port: number }
    | undefined;
}

export interface Claimed {
  /** Id and name according to GitHub. */
  readonly codespace: { readonly id: number; readonly name: string };
  readonly token: string;
  readonly presenter: Presenter;
}

export interface Presence {
  /**
   * Verifies presence.
   * @param signal aborts the check when its result no longer matters
   * @throws MeshpassError `presence_*`, `overloaded`
   */
  readonly show: (claimed: Claimed, signal?: AbortSignal) => Promise<Shown>;
}

export interface PresenceOptions {
  readonly mode: PresenceMode;
  /** Public URL of this broker: the `aud` of answers. */
  readonly broker: string;
  readonly forwarding: ForwardingOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** Creates the presence check. */
export function createPresence({ mode, broker, forwarding, clock, random }: PresenceOptions): Presence {
  const challenges = createPresenceChallenges(clock, random);
  return {
    async show({ codespace, token, presenter }, signal) {
      if (mode === 'off') return 'not_asked';
      const { jkt, source, presence } = presenter;
      const challenged = { jkt, codespaceId: codespace.id };
      if (!presence)
        throw new MeshpassError(
          'presence_required',
          'The broker must verify that you are in this Codespace. Answer its challenge on a port, then repeat the exchange. ' +
            'The agent does this automatically. If yours does not, update it.',
          { members: { presence: challenges.issue(challenged, source) } },
        );
      const { port } = presence;
      const challenge = 'nonce' in presence ? taken(presence.nonce, challenged) : fresh(presence.exchange);
      const { path } = challenge;
      const forwarded = await askForwardedPort({ name: codespace.name, port, path, token }, { ...forwarding, signal });
      switch (forwarded.outcome) {
        case 'unreachable':
          if (mode === 'preferred') return 'unreachable';
          throw new MeshpassError(
            'presence_unreachable',
            "The broker cannot connect to GitHub's port forwarding, so it cannot verify that you are in this Codespace. Try again.",
            { retryAfter: 5, detail: { reason: forwarded.reason, port } },
          );
        case 'unanswered':
          throw new MeshpassError(
            'presence_unanswered',
            `GitHub's port forwarding did not return an answer from port ${port} of this Codespace (${forwarded.reason}). ` +
              'Run `meshpass doctor` in the Codespace for suggestions.',
            { detail: { port } },
          );
        case 'answered': {
          const expected = { ...challenge, jkt, broker, codespaceName: codespace.name };
          const fault = faultOfAnswer(forwarded.body, { ...expected, now: seconds(clock) });
          if (fault === undefined) return 'answered';
          throw new MeshpassError(
            'presence_mismatch',
            'The process that answered in this Codespace does not have the key for this exchange. Run meshpass in the Codespace itself, ' +
              "configured with this broker's public URL.",
            { detail: { reason: `The answer is ${fault}.`, port } },
          );
        }
      }
    },
  };

  function taken(nonce: string, challenged: Challenged) {
    const known = challenges.take(nonce, challenged);
    if (known) return { nonce, path: known.path, exchange: undefined };
    throw new MeshpassError(
      'presence_challenge_unknown',
      'This challenge was already used, has expired, or belongs to a different key, Codespace or broker. Start the exchange again.',
    );
  }

  // The nonce exists only for this request and exchange, so it is not stored.
  function fresh(exchange: string) {
    const nonce = random(32).toString('base64url');
    return { nonce, path: offeredPath(nonce), exchange };
  }
}
