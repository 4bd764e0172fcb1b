/** Extracts the fields that the watch needs from live Codespace sessions. */

import { SETTLE_SECONDS } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';

export interface WatchedCodespace {
  readonly live: Live;
  readonly id: number;
  readonly name: string;
  readonly owner: string;
  /**
   * The login of the account that pays for the Codespace, in lower case. An organization's list contains every
   * Codespace that it pays for.
   */
  readonly payer: string;
}

/**
 * Whether an answer from GitHub reflects the state after the session opened. GitHub reported `Available` at that time,
 * but some of its servers may briefly still report a state from before the Codespace started. Answers to queries that
 * were sent within SETTLE_SECONDS of the opening are therefore ignored.
 * @param askedAt when the query was sent, in Unix milliseconds
 */
export function isSettled({ openedAt }: { readonly openedAt: number }, askedAt: number): boolean {
  return askedAt / 1000 >= openedAt + SETTLE_SECONDS;
}

/** Returns the watched Codespaces of all live sessions. */
export function watchedCodespaces(index: SessionContext['live']): WatchedCodespace[] {
  return [...index.all()].flatMap((live) => toWatchedCodespace(live) ?? []);
}

/** Returns the watched Codespace of a live session, or undefined if the session does not belong to a Codespace. */
export function toWatchedCodespace(live: Live): WatchedCodespace | undefined {
  const { attestation } = live.session;
  const { claims, githubUser } = attestation;
  if (live.ended || attestation.attestor !== 'github-codespace' || !githubUser) return undefined;
  const { codespace_id: id, codespace_name: name, billable_owner: payer } = claims;
  if (typeof id !== 'number' || typeof name !== 'string' || typeof payer !== 'string') return undefined;
  return { live, id, name, owner: githubUser.login, payer: payer.toLowerCase() };
}
