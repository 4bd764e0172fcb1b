/**
 * A gain whose answer the store lost: it may be written, and nobody was told of it. It is taken back in the store, until the store
 * has that; a broker that ends before leaves either the whole gain, with what was decided with it, or nothing of it.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Changes } from '../../audit/log/decision.ts';
import { auditRow, newEvent } from '../../audit/log/event.ts';
import { seconds, timestamp } from '../../clock/clock.ts';
import { type LifecycleContext, sessionMembers, untilStored } from '../lifecycle.ts';
import type { Live } from '../live.ts';
import { narrowedRow, revokedRows } from '../rows.ts';
import type { Principal } from '../session.ts';

/** @throws MeshpassError `store_unavailable` while a gain of this session is being taken back */
export function assertConfirmed(live: Live): void {
  if (!live.unconfirmed) return;
  const message = 'The broker does not know yet what its store has of this session; try again.';
  throw new MeshpassError('store_unavailable', message, { retryAfter: 2 });
}

/**
 * @param grants that it would have gained, or for longer
 * @param principals that it would have got; no certificate was given for them
 * @param undo what is written beside
 */
export function takeBack(
  context: LifecycleContext,
  live: Live,
  grants: readonly string[],
  principals: readonly Principal[],
  undo: Changes = {},
): void {
  const { clock, random } = context;
  live.unconfirmed = true;
  const event = {
    ...newEvent('session.narrow', {}, clock, random),
    ...sessionMembers(live.session),
    grant: grants.join(','),
    target: principals.map(({ spiffeId }) => spiffeId).join(','),
    detail: { cause: UNCONFIRMED, lost: grants },
  };
  const because = 'The store did not confirm that the session gained it, so it was taken back.';
  const { also = [], ...changes } = undo;
  const rest = {
    ...changes,
    revoked: revokedRows(live.session, principals, timestamp(seconds(clock)), UNCONFIRMED),
    audit: [...also, auditRow(event, 'ended', because, undefined, clock())],
  };
  void untilStored(context, () => ({ narrowed: narrowedRow(live.session), ...rest })).then(() => {
    delete live.unconfirmed;
  });
}

const UNCONFIRMED = 'unconfirmed';
