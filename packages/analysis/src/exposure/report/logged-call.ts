/** Evaluates policy formulas for logged calls. A log line shows only some of the fields of a call. */

import { parseCidr } from '../../address.ts';
import type { Call } from '../../diff/formula/call.ts';
import { type Condition, testsOf } from '../../diff/formula/condition.ts';
import { evaluateThreeValued } from '../../routes/truth.ts';
import { type LogFields, logFieldText, pathOf } from './access-log.ts';

/** Call with the fields that a log line shows. If a known field has no value, the call does not have that field. */
export interface LoggedCall {
  readonly call: Call;
  /** Formula fields that the log shows. */
  readonly known: ReadonlySet<string>;
}

/** Paths that Envoy normalizes (by decoding or merging parts) before policies match against them. */
const CHANGED = /%|\/\/|\\|\/\.\.?(?:\/|$)/;

/**
 * Returns the call fields that a log line shows.
 * @param isRewritten whether routes rewrite paths. A sidecar then logs the original path (`x-envoy-original-path`)
 */
export function loggedCall(fields: LogFields, isRewritten: boolean): LoggedCall {
  const has = (name: string) => Object.hasOwn(fields, name);
  const path = pathOf(fields);
  const peer = has(PEER) ? peerFields(logFieldText(fields[PEER])) : [];
  const texts: readonly (readonly [string, string | undefined])[] = [
    ...(has('method') ? [['method', logFieldText(fields.method)] as const] : []),
    ...(has('authority') ? [['host', logFieldText(fields.authority)?.toLowerCase()] as const] : []),
    ...(has('path') && !isRewritten && !CHANGED.test(path ?? '') ? [['path', path] as const] : []),
    ...(has('requested_server_name') ? [['connection.sni', logFieldText(fields.requested_server_name)] as const] : []),
    ...peer,
  ];
  const addresses = ADDRESSES.flatMap(([name, field]) => {
    const address = logFieldText(fields[name])?.replace(/^\[?(.*?)\]?:\d+$/, '$1');
    return address !== undefined && parseCidr(address) ? [[field, address] as const] : [];
  });
  return {
    call: {
      flags: new Set(peer.some(([, value]) => value !== undefined) ? ['peer'] : []),
      texts: new Map(texts.flatMap(([field, value]) => (value === undefined ? [] : [[field, value] as const]))),
      lists: new Map(),
      addresses: new Map(addresses),
    },
    known: new Set([...texts, ...addresses, ...(peer.length > 0 ? [['peer']] : [])].map(([field]) => field!)),
  };
}

const ADDRESSES = [
  ['downstream_remote_address', 'remote.ip'],
  ['downstream_direct_remote_address', 'source.ip'],
  ['downstream_local_address', 'destination.ip'],
] as const;

/** Field for `%DOWNSTREAM_PEER_URI_SAN%`, which Istio's default log format does not include. */
const PEER = 'downstream_peer_uri_san';

function peerFields(name: string | undefined): readonly (readonly [string, string | undefined])[] {
  const parts = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/,]+)$/.exec(name ?? '');
  if (name !== undefined && !parts) return [];
  return [
    ['peer.trustDomain', parts?.[1]],
    ['peer.namespace', parts?.[2]],
    ['peer.account', parts?.[3]],
  ];
}

/** Evaluates a formula for a logged call. Returns undefined if the result depends on fields that are not logged. */
export function evaluateLoggedCall({ call, known }: LoggedCall, condition: Condition): boolean | undefined {
  const truth = evaluateThreeValued(call, condition, (field) => (known.has(field) ? undefined : describe(field)));
  return typeof truth === 'boolean' ? truth : undefined;
}

/** Describes the fields that a formula needs but the log does not show. */
export function listMissingFields({ known }: LoggedCall, condition: Condition): readonly string[] {
  return [...testsOf(condition, new Set())]
    .filter(({ field }) => !known.has(field))
    .map(({ field }) => describe(field));
}

function describe(field: string): string {
  if (/^peer(?:\.|$)/.test(field)) return `the identity of the caller (${PEER})`;
  if (field.startsWith('token.')) return 'claims of the token';
  if (field.startsWith('header:')) return `the header ${field.slice('header:'.length)}`;
  if (field === 'source.ip') return 'the address of the connection (downstream_direct_remote_address)';
  return field === 'path' ? 'the path that policies compare' : field;
}
