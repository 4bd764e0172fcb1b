/**
 * Presence: that whoever holds the DPoP key also answers from within the Codespace. A token and a name can be carried elsewhere;
 * a port of the Codespace cannot.
 *
 * An exchange that names a port on which its agent listens already is answered there: the broker fetches a path of its own choice
 * through GitHub's port forwarding, and believes nothing but a JWS of that key (docs/protocol.md). One that names none is refused
 * with a challenge; the agent listens for it, and repeats the exchange with nonce and port.
 */
import { MeshpassError, offeredPath } from '@meshpass/identity';
import type { Clock, Random } from '../../clock/clock.ts';
import { seconds } from '../../clock/clock.ts';
import { faultOfAnswer } from './answer.ts';
import { type Challenged, createPresenceChallenges } from './challenges.ts';
import { askForwardedPort, type ForwardingOptions } from './forwarded-port.ts';

/** Whether Codespaces have to show their presence; docs/operating-broker.md has what each costs and protects. */
export const PRESENCE_MODES = ['required', 'preferred', 'off'] as const;
export type PresenceMode = (typeof PRESENCE_MODES)[number];

/** Who presents a proof. */
export interface Presenter {
  /** Thumbprint of the key of the exchange's DPoP proof. */
  readonly jkt: string;
  /** Address that the request came from. */
  readonly source: string;
  /** Where the workspace answers: a challenge that it was given, or whatever this exchange (`exchangeOf`) is asked. */
  readonly presence?:
    | { readonly nonce: string; readonly port: number }
    | { readonly exchange: string; readonly port: number }
    | undefined;
}

/** How it was shown; `unreachable` is let in by `preferred` alone. It goes into the audit log. */
export type Shown = 'answered' | 'unreachable' | 'not_asked';

export interface Claimed {
  /** Id and name that GitHub gave. */
  readonly codespace: { readonly id: number; readonly name: string };
  readonly token: string;
  readonly presenter: Presenter;
}

export interface Presence {
  /**
   * @param signal gives up, when it makes no difference any more
   * @throws MeshpassError `presence_*`, `overloaded`
   */
  readonly show: (claimed: Claimed, signal?: AbortSignal) => Promise<Shown>;
}

export interface PresenceOptions {
  readonly mode: PresenceMode;
  /** Public URL of this broker: `aud` of answers. */
  readonly broker: string;
  readonly forwarding: ForwardingOptions;
  readonly clock: Clock;
  readonly random: Random;
}

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
          'The broker verifies that you are in this Codespace: answer its challenge on a port, and repeat the exchange. ' +
            'The agent does so by itself; update an older one.',
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
            "The broker cannot connect to GitHub's port forwarding, so it cannot verify that you are in this Codespace; try again.",
            { retryAfter: 5, detail: { reason: forwarded.reason, port } },
          );
        case 'unanswered':
          throw new MeshpassError(
            'presence_unanswered',
            `GitHub's port forwarding returned no answer from port ${port} of this Codespace (${forwarded.reason}). ` +
              'Run `meshpass doctor` in the Codespace to see what to try.',
            { detail: { port } },
          );
        case 'answered': {
          const expected = { ...challenge, jkt, broker, codespaceName: codespace.name };
          const fault = faultOfAnswer(forwarded.body, { ...expected, now: seconds(clock) });
          if (fault === undefined) return 'answered';
          throw new MeshpassError(
            'presence_mismatch',
            'The process that answered in this Codespace does not have the key of this exchange: run meshpass in the Codespace itself, ' +
              'configured with this broker’s public URL.',
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
      'This challenge was used, has expired, or belongs to another key, Codespace or broker; start the exchange again.',
    );
  }

  // Known to nobody before the request for it, and to this exchange alone: there is nothing to be kept.
  function fresh(exchange: string) {
    const nonce = random(32).toString('base64url');
    return { nonce, path: offeredPath(nonce), exchange };
  }
}
