/** The approval of a grant in words. */
import { durationText } from '@meshpass/identity/text';
import type { Approval, Emergency, Who } from '../model.ts';
import { describeWho } from './describe-who.ts';

/**
 * Who has to approve, and for how long it is given.
 * @param room most characters for the people; those who do not fit are counted
 * @example
 * ```ts
 * import { describeApproval } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const approval = { place, by: [{ team: 'acme/leads', place }], for: 3600, max: 7200, count: 2, reason: 'required' } as const;
 * describeApproval(approval); // => 'approval by team acme/leads (2 people), at most 2h'
 * ```
 */
export function describeApproval({ by, count, max, emergency }: Approval, room = Number.POSITIVE_INFINITY): string {
  const without = emergency ? `; in an emergency taken without it ${describeEmergency(emergency)}` : '';
  return `approval by ${anyOf(by, room)}${count > 1 ? ` (${count} people)` : ''}, at most ${durationText(max)}${without}`;
}

/**
 * Who may take a grant without an approval, for how long, and who reviews it until when.
 * @example
 * ```ts
 * import { describeEmergency } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const review = [{ team: 'acme/leads', place }];
 * describeEmergency({ for: 1800, review, within: 86_400 }); // => 'by whoever may ask, at most 30m, reviewed within 24h by team acme/leads'
 * ```
 */
export function describeEmergency({ who, review, within, for: longest }: Omit<Emergency, 'place'>): string {
  return `by ${who ? anyOf(who) : 'whoever may ask'}, ${describeEmergencyBounds({ review, within, for: longest })}`;
}

/**
 * The same without who takes it.
 * @param room most characters for the people; those who do not fit are counted
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
  for (let named = all.length; named > 0; named--) {
    const left = all.length - named;
    const text = `${all.slice(0, named).join(' or ')}${left > 0 ? ` ... and ${left} more` : ''}`;
    if (text.length <= room) return text;
  }
  return 'whom the access file names';
}
