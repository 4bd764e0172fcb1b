/** Formulas of policies, evaluated for a call of which a log shows some fields. */

import { readRange } from '../../address.ts';
import { type Condition, type Test, testsOf } from '../../diff/formula/condition.ts';
import { passes } from '../../diff/formula/text-test.ts';
import { given, type LogFields, pathOf } from './access-log.ts';

/** Known fields of a formula. A field is undefined if the call has none; it is missing if the log does not show it. */
export type LoggedCall = ReadonlyMap<string, string | boolean | undefined>;

/** Envoy decodes or merges parts of such a path before policies compare it. */
const CHANGED = /%|\/\/|\\|\/\.\.?(?:\/|$)/;

/**
 * Returns the fields that a line shows.
 * @param isRewritten whether routes rewrite paths. A sidecar then logs the earlier path (`x-envoy-original-path`)
 */
export function loggedCall(fields: LogFields, isRewritten: boolean): LoggedCall {
  const known = new Map<string, string | boolean | undefined>();
  const has = (name: string) => Object.hasOwn(fields, name);
  if (has('method')) known.set('method', given(fields.method));
  if (has('authority')) known.set('host', given(fields.authority)?.toLowerCase());
  const path = pathOf(fields);
  if (has('path') && !isRewritten && !CHANGED.test(path ?? '')) known.set('path', path);
  if (has('requested_server_name')) known.set('connection.sni', given(fields.requested_server_name));
  for (const [name, field] of ADDRESSES) {
    const address = given(fields[name])?.replace(/^\[?(.*?)\]?:\d+$/, '$1');
    if (address !== undefined && readRange(address)) known.set(field, address);
  }
  if (has(PEER)) for (const [field, value] of peerFields(given(fields[PEER]))) known.set(field, value);
  return known;
}

const ADDRESSES = [
  ['downstream_remote_address', 'remote.ip'],
  ['downstream_direct_remote_address', 'source.ip'],
  ['downstream_local_address', 'destination.ip'],
] as const;

/** Field for `%DOWNSTREAM_PEER_URI_SAN%`, which Istio's default format does not have. */
const PEER = 'downstream_peer_uri_san';

function peerFields(name: string | undefined): readonly (readonly [string, string | boolean | undefined])[] {
  const parts = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/,]+)$/.exec(name ?? '');
  if (name !== undefined && !parts) return [];
  return [
    ['peer', parts !== null],
    ['peer.trustDomain', parts?.[1]],
    ['peer.namespace', parts?.[2]],
    ['peer.account', parts?.[3]],
  ];
}

/** Evaluates a formula. Undefined if it depends on fields that the log does not show. */
export function meetsLogged(call: LoggedCall, condition: Condition): boolean | undefined {
  switch (condition.op) {
    case 'constant':
      return condition.value;
    case 'not': {
      const met = meetsLogged(call, condition.of);
      return met === undefined ? undefined : !met;
    }
    case 'all':
    case 'any': {
      const decisive = condition.op === 'any';
      const met = condition.of.map((one) => meetsLogged(call, one));
      if (met.includes(decisive)) return decisive;
      return met.includes(undefined) ? undefined : !decisive;
    }
    default:
      return call.has(condition.field) ? passesTest(condition, call.get(condition.field)) : undefined;
  }
}

function passesTest(test: Test, value: string | boolean | undefined): boolean {
  if (test.op === 'flag') return value === true;
  if (typeof value === 'boolean') return false;
  if (test.op === 'text') return passes(test.test, value);
  const [address, range] = [readRange(value ?? ''), readRange(test.range)];
  return !!address && !!range && range.first <= address.first && address.first <= range.last;
}

/** Lists what a formula needs and the log does not show, in words. */
export function missingIn(call: LoggedCall, condition: Condition): readonly string[] {
  return [...testsOf(condition, new Set())].filter(({ field }) => !call.has(field)).map(({ field }) => describe(field));
}

function describe(field: string): string {
  if (/^peer(?:\.|$)/.test(field)) return `the identity of the caller (${PEER})`;
  if (field.startsWith('token.')) return 'claims of the token';
  if (field.startsWith('header:')) return `the header ${field.slice('header:'.length)}`;
  if (field === 'source.ip') return 'the address of the connection (downstream_direct_remote_address)';
  return field === 'path' ? 'the path that policies compare' : field;
}
