/**
 * Whom the broker itself trusts, before and after: roles of operators, what needs a second person, issuers, and webhooks that answer in
 * the name of others. Whoever applies such a change may give themselves any role, or any approval.
 */
import { type Access, describeWho, type Operators, type Trust, type TrustedIssuer } from '@meshpass/access/compile';
import { canonicalJson } from '../canonical-json.ts';

export interface TrustChange {
  readonly about: 'role' | 'second-person' | 'operators' | 'issuer' | 'codespaces' | 'audience' | 'webhook';
  /** `issuer okta, claim groups sre`, `ServiceAccount ci/reporter`, `webhook chat (...)`. */
  readonly who: string;
  readonly does: 'gains' | 'loses' | 'changes';
  /** `the role admin`, `the right to answer requests for approval`; of what changes, both values. */
  readonly what: string;
  /** Whether somebody may do more than before, or needs less for it. */
  readonly wider: boolean;
}

/** @returns what is wider first */
export function trustChanges(before: Access, after: Access): readonly TrustChange[] {
  const changes = [
    ...roleChanges(before.operators, after.operators),
    ...secondPersonChanges(before.operators, after.operators),
    ...settingChanges(before.operators, after.operators),
    ...issuerChanges(before.trust.issuers, after.trust.issuers),
    ...codespaceChanges(before.trust, after.trust),
    ...comings('audience', new Set(before.trust.audiences), new Set(after.trust.audiences), (audience) => [
      'every grant',
      `ID tokens for ${audience}`,
    ]),
    ...webhookChanges(before, after),
  ];
  return [...changes.filter(({ wider }) => wider), ...changes.filter(({ wider }) => !wider)];
}

/**
 * A change of trust in words.
 * @example
 * ```ts
 * import { describeTrustChange } from '@meshpass/analysis/plan';
 * const change = { about: 'role', who: 'ServiceAccount ci/reporter', what: 'the role viewer', wider: true } as const;
 * describeTrustChange({ ...change, does: 'gains' }); // => 'ServiceAccount ci/reporter gains the role viewer'
 * ```
 */
export function describeTrustChange({ who, does, what }: TrustChange): string {
  return does === 'changes' ? `${who} changes: ${what}` : `${who} ${does} ${what}`;
}

/** What is in one set and not in the other. @param words who, and what it gains or loses */
function comings(
  about: TrustChange['about'],
  before: ReadonlySet<string>,
  after: ReadonlySet<string>,
  words: (one: string) => readonly [who: string, what: string],
): readonly TrustChange[] {
  const told = (one: string, does: 'gains' | 'loses'): TrustChange => {
    const [who, what] = words(one);
    return { about, who, does, what, wider: does === 'gains' };
  };
  return [
    ...[...after].filter((one) => !before.has(one)).map((one) => told(one, 'gains')),
    ...[...before].filter((one) => !after.has(one)).map((one) => told(one, 'loses')),
  ];
}

function roleChanges(before: Operators | undefined, after: Operators | undefined): readonly TrustChange[] {
  const [old, now] = [holders(before), holders(after)];
  return comings('role', new Set(old.keys()), new Set(now.keys()), (key) => (now.get(key) ?? old.get(key))!);
}

/** Each entry of each role, by its meaning. */
function holders(operators: Operators | undefined): ReadonlyMap<string, readonly [who: string, what: string]> {
  if (!operators) return new Map();
  const entries = Object.entries(operators.roles).flatMap(([role, all]) =>
    all.map((entry) => {
      const { place: _, ...members } = entry;
      return [`${role} ${canonicalJson(members)}`, describeWho(entry), role] as const;
    }),
  );
  const accounts = operators.serviceAccounts.flatMap(({ namespace, name, roles }) =>
    roles.map((role) => [`${role} ${namespace}/${name}`, `ServiceAccount ${namespace}/${name}`, role] as const),
  );
  return new Map([...entries, ...accounts].map(([key, who, role]) => [key, [who, `the role ${role}`]]));
}

function secondPersonChanges(before: Operators | undefined, after: Operators | undefined): readonly TrustChange[] {
  const [old, now] = [new Set(before?.secondPerson), new Set(after?.secondPerson)];
  return comings('second-person', old, now, (action) => [action, 'the need of a second person']).map((change) => ({
    ...change,
    wider: change.does === 'loses',
  }));
}

/** What the access file says where it has no operators. */
type Settings = Pick<Operators, 'session' | 'confirm' | 'deviceFlow'>;
const DEFAULTS: Settings = { session: 3_600, confirm: 300, deviceFlow: false };

function settingChanges(before: Settings = DEFAULTS, after: Settings | undefined): readonly TrustChange[] {
  if (!after) return [];
  const told = (what: string, wider: boolean): TrustChange => ({
    ...{ about: 'operators', who: 'how operators sign in', does: 'changes', what, wider },
  });
  const changes: TrustChange[] = [];
  if (before.session !== after.session) {
    const what = `sessions last ${after.session} seconds at most, ${before.session} before`;
    changes.push(told(what, after.session > before.session));
  }
  if (before.confirm !== after.confirm) {
    const what = `issuers confirm operators every ${after.confirm} seconds, ${before.confirm} before`;
    changes.push(told(what, after.confirm > before.confirm));
  }
  if (before.deviceFlow !== after.deviceFlow) {
    const what = `ID tokens without a nonce are ${after.deviceFlow ? 'accepted' : 'refused'} from now on`;
    changes.push(told(what, after.deviceFlow));
  }
  return changes;
}

function issuerChanges(before: readonly TrustedIssuer[], after: readonly TrustedIssuer[]): readonly TrustChange[] {
  const [old, now] = [before, after].map((all) => new Map(all.map((one) => [one.name, one])));
  const words = (name: string) =>
    [
      `issuer ${name} (${(now!.get(name) ?? old!.get(name))!.issuer})`,
      'trust: its tokens prove who somebody is',
    ] as const;
  return [
    ...comings('issuer', new Set(old!.keys()), new Set(now!.keys()), words),
    ...[...now!].flatMap(([name, issuer]): readonly TrustChange[] => {
      const was = old!.get(name);
      const differences = was ? differing(was, issuer) : [];
      // Which of two audiences or clients is the wider one cannot be told.
      const told = {
        about: 'issuer',
        who: `issuer ${name}`,
        does: 'changes',
        what: differences.join('; '),
        wider: true,
      };
      return differences.length > 0 ? [told as TrustChange] : [];
    }),
  ];
}

function differing(before: TrustedIssuer, after: TrustedIssuer): readonly string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])] as (keyof TrustedIssuer)[];
  return names
    .filter((name) => canonicalJson(before[name] ?? null) !== canonicalJson(after[name] ?? null))
    .map((name) => `${name} ${said(after[name])}, ${said(before[name])} before`);
}

function said(value: unknown): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' ? value : canonicalJson(value);
}

function codespaceChanges({ codespaces: before }: Trust, { codespaces: after }: Trust): readonly TrustChange[] {
  const of = (one: Trust['codespaces']) => new Set(one ? [one.organization] : []);
  return comings('codespaces', of(before), of(after), (organization) => [
    `Codespaces of the organization ${organization}`,
    'trust',
  ]);
}

/** A webhook answers in the name of people: whoever has its secret may approve as any of them. */
function webhookChanges(before: Access, after: Access): readonly TrustChange[] {
  const all = ({ webhooks = [] }: Access) =>
    new Set(webhooks.map(({ name, url, speaksFor }) => `webhook ${name} (for people of ${speaksFor}, at ${url})`));
  return comings('webhook', all(before), all(after), (who) => [who, 'the right to answer requests for approval']);
}
