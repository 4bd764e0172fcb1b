/** Describes sets of calls by their callers, operations and circumstances, leaving out anything that is irrelevant. */
import type { Call } from './formula/call.ts';
import type { FieldExplanation } from './formula/explain.ts';

export interface Description {
  /** The callers, such as `workloads of namespace shop`. */
  readonly who: string;
  /** The operations, such as `GET /orders/*`. */
  readonly what: string;
  /** Additional conditions, such as `with a token of https://...`. Empty if there are none. */
  readonly circumstances: string;
  /** The fields that are relevant to the difference. */
  readonly matters: ReadonlySet<string>;
}

/**
 * Describes the calls that a product represents.
 * @param given the fields to omit because they are obvious from the context
 */
export function describeProduct(
  explained: readonly FieldExplanation[],
  given: ReadonlySet<string> = new Set(),
): Description {
  const by = new Map(explained.map((one) => [one.field, one]));
  const who = describeWho(by);
  const what = describeWhat(by);
  const circumstances = explained
    .filter(({ field }) => !CALL_FIELDS.has(field) && !given.has(field))
    .map(describeCircumstance)
    .filter((text) => text !== '');
  return {
    who,
    what,
    circumstances: circumstances.join(', '),
    matters: new Set([...by.keys()].filter((field) => !given.has(field))),
  };
}

/**
 * Formats a single call, showing only the relevant fields.
 * @param matters the fields that are relevant to the difference
 */
export function formatCall(call: Call, protocol: 'http' | 'tcp', matters: ReadonlySet<string>): string {
  const of = <T>(all: Iterable<readonly [string, T]>) => new Map([...all].filter(([field]) => matters.has(field)));
  const [texts, lists, addresses] = [of(call.texts), of(call.lists), of(call.addresses)];
  const { flags } = call;
  const namespace = texts.get('peer.namespace');
  const account = texts.get('peer.account');
  const peer = flags.has('peer')
    ? `${namespace ?? 'any namespace'}/${account ?? 'any account'}${texts.has('peer.trustDomain') ? ` of ${texts.get('peer.trustDomain')}` : ''}`
    : 'a caller without mutual TLS';
  const what =
    protocol === 'tcp' ? 'a connection' : `${call.texts.get('method') ?? 'GET'} ${call.texts.get('path') ?? '/'}`;
  const rest = [
    ...[...texts].filter(([field]) => !CALL_FIELDS.has(field)).map(([field, value]) => `${label(field)} ${value}`),
    ...[...lists].map(([field, values]) => `${label(field)} ${values.join(' and ')}`),
    ...[...addresses].map(([field, value]) => `${field} ${value}`),
    ...[...flags].filter((name) => name !== 'peer' && matters.has(name)).map((name) => describeFlag(name, true)),
  ];
  return `${peer}: ${what}${rest.length > 0 ? ` (${rest.join(', ')})` : ''}`;
}

const PEER_FIELDS = ['peer', 'peer.namespace', 'peer.account', 'peer.trustDomain'];
const CALL_FIELDS = new Set([...PEER_FIELDS, 'method', 'path']);

function describeWho(by: ReadonlyMap<string, FieldExplanation>): string {
  const proven = by.get('peer');
  if (proven?.kind === 'flag' && !proven.value) return 'callers without mutual TLS';
  const [namespace, account, domain] = ['peer.namespace', 'peer.account', 'peer.trustDomain'].map((field) =>
    by.get(field),
  );
  const parts = [
    ...(account ? [`service account ${values(account)}`] : []),
    ...(namespace ? [`namespace ${values(namespace)}`] : []),
    ...(domain ? [`trust domain ${values(domain)}`] : []),
  ];
  if (parts.length > 0) return `workloads of ${parts.join(' of ')}`;
  return proven ? 'every caller with mutual TLS' : 'everybody';
}

function describeWhat(by: ReadonlyMap<string, FieldExplanation>): string {
  const [method, path] = [by.get('method'), by.get('path')];
  if (!method && !path) return 'every call';
  return `${method ? values(method) : 'any method'} ${path ? values(path) : 'on any path'}`;
}

function describeCircumstance(one: FieldExplanation): string {
  switch (one.kind) {
    case 'flag':
      return describeFlag(one.field, one.value);
    case 'member':
      return `${one.has ? 'with' : 'without'} ${label(one.field)} ${one.value}`;
    default: {
      if (one.field === 'token.issuer' && one.missing && one.values.length === 0 && !one.except)
        return 'without a token';
      if (one.missing && one.values.length === 0 && !one.except) return `without ${label(one.field)}`;
      const may = one.missing && !one.except ? ` or without ${label(one.field)}` : '';
      return `with ${label(one.field)} ${values(one)}${may}`;
    }
  }
}

function describeFlag(field: string, value: boolean): string {
  const [kind, ...rest] = field.split(':');
  const name = rest.join(':');
  if (kind === 'unverified')
    return value ? `with a token in ${name} that does not verify` : `without an unverifiable token in ${name}`;
  if (kind === 'custom') return `if the authorizer ${name} ${value ? 'agrees' : 'does not agree'}`;
  return value ? name : '';
}

/** Returns the name of a field as it is shown to users. */
function label(field: string): string {
  if (field === 'connection.sni') return 'SNI';
  if (field === 'token.issuer') return 'a token of';
  if (field === 'token.subject') return 'subject';
  if (field.startsWith('token.claim:')) return `claim ${field.slice('token.claim:'.length).replaceAll('][', '.')}`;
  return field.startsWith('header:') ? `header ${field.slice('header:'.length)}` : field.replace(/^metadata:/, '');
}

const SHOWN = 8;

function values(one: FieldExplanation): string {
  if (one.kind !== 'text' && one.kind !== 'address') return '';
  const list =
    one.values.slice(0, SHOWN).join(', ') + (one.values.length > SHOWN ? ` and ${one.values.length - SHOWN} more` : '');
  if (!one.except) return list || 'none';
  return one.values.length === 0 ? 'any' : `any but ${list}`;
}
