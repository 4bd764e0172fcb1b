/** What `meshpass review` and `meshpass approvals review` say of an emergency. */
import type { ReviewOrder } from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { argument, text, toggle } from '../command/flag.ts';

export const reviewArgs = { id: argument('id of the emergency; the lists of requests show it') };
export const reviewFlags = {
  accept: toggle('it was right to take the grant'),
  object: toggle('it was not: a grant that is still held is lost at once'),
  reason: text('<text>', 'why, for the audit log and for whoever took it', { required: true }),
};

/** @throws MeshpassError `usage` unless one of --accept and --object is given */
export function reviewOrder(given: {
  readonly id: string;
  readonly accept: boolean;
  readonly object: boolean;
  readonly reason: string;
}): ReviewOrder {
  const { id, accept, object, reason } = given;
  if (accept === object) throw new MeshpassError('usage', 'Say --accept or --object, one of them.');
  return { id, decision: accept ? 'accept' : 'object', reason };
}
