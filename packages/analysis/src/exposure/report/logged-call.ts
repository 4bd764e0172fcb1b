/** Evaluates policy formulas for logged calls. A log line contains only some of the call's fields. */

import { parseCidr } from '../../address.ts';
import type { Call } from '../../diff/formula/call.ts';
import { type Condition, testsOf } from '../../diff/formula/condition.ts';
import { evaluateThreeValued } from '../../routes/truth.ts';
import { type LogFields, logFieldText, pathOf } from './access-log.ts';

/**
 * A call, reconstructed from the fields in a log line. If a field is known but has no value, the call did not have it.
 */
export interface LoggedCall {
  readonly call: Call;
  /** The fields of the formula whose values are logged. */
  readonly known: ReadonlySet<string>;
}

/** Matches paths that Envoy normalizes, by decoding or merging parts, before policies compare them. */
const CHANGED = /%|\/\/|\\|\/\.\.?(?:\/|$)/;

/**
 * Reconstructs a call from the fields in a log line.
 * @param isRewritten whether any route rewrites paths, in which case a sidecar logs the original path
 *   (`x-envoy-original-path`)
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

/** The field for `%DOWNSTREAM_PEER_URI_SAN%`. It is not part of Istio's default log format. */
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

/** Evaluates a formula for a logged call. Returns undefined if the result depends on fields that are not in the log. */
export function evaluateLoggedCall({ call, known }: LoggedCall, condition: Condition): boolean | undefined {
  const truth = evaluateThreeValued(call, condition, (field) => (known.has(field) ? undefined : describe(field)));
  return typeof truth === 'boolean' ? truth : undefined;
}

/** Describes the fields that a formula depends on but that are missing from the log. */
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
