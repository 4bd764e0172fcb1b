/** The approval of a grant in words. */
import type { Approval } from '../model.ts';
import { describeWho } from './describe-who.ts';

/**
 * Who has to approve, and for how long it is given.
 * @example
 * ```ts
 * import { describeApproval } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const approval = { place, by: [{ team: 'acme/leads', place }], for: 3600, max: 7200, count: 2, reason: 'required' } as const;
 * describeApproval(approval); // => 'approval by team acme/leads (2 people), at most 2h'
 * ```
 */
export function describeApproval({ by, count, max }: Approval): string {
  return `approval by ${by.map(describeWho).join(' or ')}${count > 1 ? ` (${count} people)` : ''}, at most ${duration(max)}`;
}

function duration(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
