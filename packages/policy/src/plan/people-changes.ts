/** Who may hold a grant, before and after: the alternatives of `who` that come and go. */
import type { Access, Grant } from '../model.ts';
import { canonical } from './resource-changes.ts';

export interface PeopleChange {
  readonly grant: string;
  readonly does: 'may now hold' | 'may no longer hold';
  /** `team acme/payments, repository acme/payments-*` */
  readonly who: string;
}

export function peopleChanges(before: Access, after: Access): readonly PeopleChange[] {
  const was = new Map(before.grants.map((grant) => [grant.name, alternatives(grant)]));
  const is = new Map(after.grants.map((grant) => [grant.name, alternatives(grant)]));
  return [...new Set([...was.keys(), ...is.keys()])].sort().flatMap((grant): PeopleChange[] => {
    const [old, now] = [was.get(grant) ?? new Map(), is.get(grant) ?? new Map()];
    return [
      ...[...now].filter(([key]) => !old.has(key)).map(([, who]) => ({ grant, does: 'may now hold' as const, who })),
      ...[...old]
        .filter(([key]) => !now.has(key))
        .map(([, who]) => ({ grant, does: 'may no longer hold' as const, who })),
    ];
  });
}

function alternatives({ who }: Grant): ReadonlyMap<string, string> {
  return new Map(
    who.map(({ place: _, ...members }) => [
      canonical(members),
      Object.entries(members)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `${name} ${typeof value === 'object' ? canonical(value) : value}`)
        .join(', '),
    ]),
  );
}
