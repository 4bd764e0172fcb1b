/** Who may hold a grant, before and after: the alternatives of `who` that come and go, who is denied, and when. */

import {
  type Access,
  type Approval,
  type Denial,
  describeApproval,
  describeEmergencyBounds,
  describeWho,
  type Grant,
  type Who,
} from '@meshpass/access/compile';
import { canonicalJson } from '../canonical-json.ts';

export interface PeopleChange {
  /** Name of the grant, or `every grant`. */
  readonly grant: string;
  readonly does:
    | 'may now hold'
    | 'may no longer hold'
    /** Without an approval, for a short time, reviewed afterwards. */
    | 'may now in an emergency take'
    | 'may no longer in an emergency take'
    | 'is now denied'
    | 'is no longer denied'
    /** Of the time in which a grant is open, or the approval that it needs: who gives it, for how long. */
    | 'changes for';
  /** `team acme/payments, repository acme/payments-*` */
  readonly who: string;
}

export function peopleChanges(before: Access, after: Access): readonly PeopleChange[] {
  const was = new Map(before.grants.map((grant) => [grant.name, grant]));
  const is = new Map(after.grants.map((grant) => [grant.name, grant]));
  return [
    ...differences('every grant', DENIED, before.deny, after.deny),
    ...[...new Set([...was.keys(), ...is.keys()])].sort().flatMap((name) => {
      const [old, now] = [was.get(name), is.get(name)];
      return [
        ...differences(name, HELD, old?.who, now?.who, now?.approval && `with ${describeApproval(now.approval)}`),
        ...differences(name, TAKEN, takers(old), takers(now), bounds(now)),
        ...differences(name, DENIED, old?.except, now?.except),
        ...(old && now ? conditionChanges(old, now) : []),
      ];
    }),
  ];
}

type Words = readonly [now: PeopleChange['does'], noLonger: PeopleChange['does']];
const HELD: Words = ['may now hold', 'may no longer hold'];
const TAKEN: Words = ['may now in an emergency take', 'may no longer in an emergency take'];
const DENIED: Words = ['is now denied', 'is no longer denied'];

function differences(
  grant: string,
  [now, noLonger]: Words,
  before: readonly Who[] = [],
  after: readonly Who[] = [],
  condition?: string,
): readonly PeopleChange[] {
  const [old, fresh] = [alternatives(before), alternatives(after)];
  return [
    ...[...fresh]
      .filter(([key]) => !old.has(key))
      .map(([, who]) => ({ grant, does: now, who: condition === undefined ? who : `${who}, ${condition}` })),
    ...[...old].filter(([key]) => !fresh.has(key)).map(([, who]) => ({ grant, does: noLonger, who })),
  ];
}

/** Whoever may ask, where the file names nobody else. */
function takers(grant: Grant | undefined): readonly Who[] {
  const emergency = grant?.approval?.emergency;
  return emergency ? (emergency.who ?? grant.who) : [];
}

function bounds(grant: Grant | undefined): string | undefined {
  const emergency = grant?.approval?.emergency;
  return emergency && describeEmergencyBounds(emergency);
}

function alternatives(entries: readonly Who[]): ReadonlyMap<string, string> {
  return new Map(
    entries.map((entry) => {
      const { place: _, reason: __, ...members }: Denial = entry;
      return [canonicalJson(members), describeWho(entry)];
    }),
  );
}

function conditionChanges(old: Grant, now: Grant): readonly PeopleChange[] {
  const said = (value: unknown) =>
    JSON.stringify(value ?? null, (key, member) => (key === 'place' ? undefined : member));
  const changed = (what: 'during' | 'approval') => said(old[what]) !== said(now[what]);
  return [
    ...(changed('during') ? ['the time in which it is open'] : []),
    ...(changed('approval') ? [approvalChange(old.approval, now.approval)] : []),
  ].map((who) => ({ grant: now.name, does: 'changes for' as const, who }));
}

function approvalChange(before: Approval | undefined, after: Approval | undefined): string {
  const said = (approval: Approval | undefined) => (approval ? describeApproval(approval) : 'no approval');
  return `what it needs (${said(before)} before, ${said(after)} after)`;
}
