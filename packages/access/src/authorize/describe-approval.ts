/** Describes approvals as text. */
import { durationText } from '@meshpass/identity/text';
import type { Approval, Emergency, Who } from '../model.ts';
import { describeWho } from './describe-who.ts';

/**
 * Describes who must approve, and for how long an approval lasts.
 * @param room maximum characters for the people; the rest is counted
 * @example
 * ```ts
 * import { describeApproval } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const approval = { place, by: [{ team: 'acme/leads', place }], for: 3600, max: 7200, count: 2, reason: 'required' } as const;
 * describeApproval(approval); // => 'approval by team acme/leads (2 people), at most 2h'
 * ```
 */
export function describeApproval({ by, count, max, emergency }: Approval, room = Number.POSITIVE_INFINITY): string {
  const without = emergency ? `; emergency use without approval: ${describeEmergency(emergency, room)}` : '';
  return `approval by ${anyOf(by, room)}${count > 1 ? ` (${count} people)` : ''}, at most ${durationText(max)}${without}`;
}

/**
 * Describes who may take a grant without an approval, for how long, and who must review it by when.
 * @param room maximum characters for each group of people
 * @example
 * ```ts
 * import { describeEmergency } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const review = [{ team: 'acme/leads', place }];
 * describeEmergency({ for: 1800, review, within: 86_400 }); // => 'by anyone who may request it, at most 30m, reviewed within 24h by team acme/leads'
 * ```
 */
export function describeEmergency(
  { who, review, within, for: longest }: Omit<Emergency, 'place'>,
  room = Number.POSITIVE_INFINITY,
): string {
  const bounds = describeEmergencyBounds({ review, within, for: longest }, room);
  return `by ${who ? anyOf(who, room) : 'anyone who may request it'}, ${bounds}`;
}

/**
 * Describes the limits of an emergency, without the people who may take it.
 * @param room maximum characters for the people; the rest is counted
 * @example
 * ```ts
 * import { describeEmergencyBounds } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const review = [{ team: 'acme/leads', place }];
 * describeEmergencyBounds({ for: 1800, review, within: 86_400 }); // => 'at most 30m, reviewed within 24h by team acme/leads'
 * ```
 */
export function describeEmergencyBounds(
  emergency: Pick<Emergency, 'for' | 'review' | 'within'>,
  room = Number.POSITIVE_INFINITY,
): string {
  const { for: longest, review, within } = emergency;
  return `at most ${durationText(longest)}, reviewed within ${durationText(within)} by ${anyOf(review, room)}`;
}

function anyOf(people: readonly Who[], room = Number.POSITIVE_INFINITY): string {
  const all = people.map(describeWho);
  let named = '';
  let text = 'people in the access file';
  for (const [index, one] of all.entries()) {
    named += `${index > 0 ? ' or ' : ''}${one}`;
    if (named.length > room) break;
    const left = all.length - index - 1;
    const shown = `${named}${left > 0 ? ` ... and ${left} more` : ''}`;
    if (shown.length <= room) text = shown;
  }
  return text;
}
