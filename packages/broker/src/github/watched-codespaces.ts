/** The live sessions of Codespaces, as the watcher sees them. */
import { SETTLE_SECONDS } from '../attest/github/losses.ts';
import type { Live, LiveIndex } from '../session/live.ts';

export interface WatchedCodespace {
  readonly live: Live;
  readonly id: number;
  readonly name: string;
  readonly owner: string;
  /** Unix seconds. */
  readonly openedAt: number;
  /** Login of who pays, lower case: the organisation's list certainly has what the organisation pays for. */
  readonly payer: string;
}

/**
 * When a session opened, GitHub had just said `Available`. Its servers may still disagree for a moment, with a word from
 * before the start: what is asked sooner than SETTLE_SECONDS after the opening says nothing about the session.
 * @param askedAt when the question was asked, Unix milliseconds
 */
export function isSettled({ openedAt }: { readonly openedAt: number }, askedAt: number): boolean {
  return askedAt / 1000 >= openedAt + SETTLE_SECONDS;
}

export function watchedCodespaces(index: LiveIndex): WatchedCodespace[] {
  return [...index.all()].flatMap((live) => watched(live) ?? []);
}

export function watched(live: Live): WatchedCodespace | undefined {
  const { attestation, openedAt } = live.session;
  const { claims, githubUser } = attestation;
  if (live.ended || attestation.attestor !== 'github-codespace' || !githubUser) return undefined;
  const { codespace_id: id, codespace_name: name, billable_owner: payer } = claims;
  if (typeof id !== 'number' || typeof name !== 'string' || typeof payer !== 'string') return undefined;
  return { live, id, name, owner: githubUser.login, openedAt, payer: payer.toLowerCase() };
}
