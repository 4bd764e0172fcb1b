/**
 * Calls from anonymous clients, which come from outside and have no token. A workload behind a gateway sees the
 * gateway's own principal. The formulas of the diff determine exactly whether policies allow such a call
 * (docs/decisions/0018-one-reading-of-istio.md). If the files do not fully determine the call, one allowed variant is
 * enough for a warning.
 */
import { MeshpassError } from '@meshpass/identity';
import type { HttpMatch } from '@meshpass/istio';
import type { Call } from '../diff/formula/call.ts';
import {
  ALWAYS,
  all,
  type Condition,
  flag,
  NEVER,
  not,
  replaceTests,
  type Test,
  testsOf,
  text,
} from '../diff/formula/condition.ts';
import { createSpace } from '../diff/formula/space.ts';
import { parseTextTest } from '../diff/formula/text-test.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import { normalizePath } from '../evaluate/rule/path.ts';
import { hostCondition, matchCondition } from '../routes/match-condition.ts';
import { requiredTextTests } from '../routes/overlap.ts';
import { impliedTestResult } from '../routes/text-match.ts';
import { isNarrow } from './internal.ts';

/** Peer that the enforcing proxy sees. */
export interface Peer {
  readonly trustDomain: string;
  readonly namespace: string;
  /** Undefined if unknown. It may then be any ServiceAccount. */
  readonly serviceAccount: string | undefined;
}

/** Anonymous calls on a route, as an enforcing proxy sees them. */
export interface UnauthenticatedCalls {
  /** Alternative peers. Empty for plaintext, or for TLS without a mesh certificate. */
  readonly peers: readonly Peer[];
  /** Alternative VirtualService hosts. Empty if every host matches. */
  readonly hosts: readonly string[];
  /** Alternative matches. Empty if every request matches. */
  readonly matches: readonly HttpMatch[];
  /** Whether connections may come from a node's address. Any private range may contain it. */
  readonly throughNodes?: boolean;
}

/** A combination that contains one of each kind of alternative. */
interface OneOf {
  readonly peer: Peer | undefined;
  readonly host: string;
  readonly match: HttpMatch;
  readonly throughNodes: boolean;
}

/**
 * Finds an example of a call that the policies allow. Returns `refused` if none exists, or `too large` if the policies
 * are too complex to evaluate.
 */
export function findAllowedCall(portPolicy: PortPolicy, calls: UnauthenticatedCalls): Call | 'refused' | 'too large' {
  let answer: Call | 'refused' | 'too large' = 'refused';
  for (const one of alternatives(calls)) {
    // Most of a gateway's rules are for other hosts and paths. Simplifying the formula first removes them.
    const caller = callerCondition(one);
    const allowed = assuming(portPolicy.allowed, one, caller);
    if (allowed === NEVER || caller === NEVER) continue;
    const found = exampleOf(allowed, all([caller, addressCondition(allowed, one)]));
    if (typeof found === 'object') return found;
    if (found === 'too large') answer = found;
  }
  return answer;
}

function alternatives({ peers, hosts, matches, throughNodes = false }: UnauthenticatedCalls): readonly OneOf[] {
  const from = peers.length > 0 ? peers : [undefined];
  const under = hosts.length > 0 ? hosts.map((host) => host.toLowerCase()).flatMap(spellingsOf) : ['*'];
  const by = matches.length > 0 ? matches : [{}];
  return from.flatMap((peer) => under.flatMap((host) => by.map((match) => ({ peer, host, match, throughNodes }))));
}

/**
 * Adds a variant of the host with a port. Gateways ignore the port, but policies compare it. Source:
 * https://istio.io/latest/docs/ops/best-practices/security/, "Host-match policies".
 */
function spellingsOf(host: string): readonly string[] {
  return host === '*' ? [host] : [host, `${host.replace('*', 'x')}:80`];
}

function exampleOf(allowed: Condition, caller: Condition): Call | 'refused' | 'too large' {
  try {
    const space = createSpace([allowed, caller]);
    const passing = space.diagram.products(space.diagram.and(space.set(allowed), space.set(caller)));
    let first: Call | undefined;
    let looked = 0;
    for (const product of passing) {
      const example = space.example(product);
      if (isSent(example)) return example;
      first ??= example;
      if (++looked >= MOST_EXAMPLES) break;
    }
    return first ?? 'refused';
  } catch (error) {
    if (error instanceof MeshpassError && error.code === 'policy_too_large') return 'too large';
    throw error;
  }
}

/** Maximum number of examples to skip while searching for a path that Envoy does not normalize. */
const MOST_EXAMPLES = 50;

function isSent({ texts: fields }: Call): boolean {
  const path = fields.get('path');
  return path === undefined || normalizePath(path, 'BASE') === path;
}

/** Returns the condition for a caller's calls: the connection, the host and the match. */
function callerCondition({ peer, host, match }: OneOf): Condition {
  // Claims are evaluated separately, and the entry point determines the scheme and port.
  const { scheme: _scheme, port: _port, headers, ...rest } = match;
  const sent = Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !name.startsWith('@')));
  const listener = { protocol: 'http', port: undefined } as const;
  return all([
    ...(peer ? [flag('peer'), ...peerConditions(peer)] : [not(flag('peer'))]),
    hostCondition(host),
    matchCondition({ ...rest, headers: sent }, listener),
  ]);
}

function peerConditions({ trustDomain, namespace, serviceAccount }: Peer): readonly Condition[] {
  return [
    text('peer.trustDomain', parseTextTest(trustDomain)),
    text('peer.namespace', parseTextTest(namespace)),
    ...(serviceAccount === undefined ? [] : [text('peer.account', parseTextTest(serviceAccount))]),
  ];
}

/**
 * Requires an IPv4 client address, so that 0.0.0.0/0 matches every client. A workload sees the gateway's address
 * instead, which may be in any range.
 */
function addressCondition(allowed: Condition, { peer }: OneOf): Condition {
  const tests = [...testsOf(allowed, new Set())];
  const asked = (['source.ip', 'remote.ip'] as const).filter(
    (field) => (field === 'remote.ip' || !peer) && tests.some((one) => one.op === 'address' && one.field === field),
  );
  return all(asked.map((field): Condition => ({ op: 'address', field, range: '0.0.0.0/0' })));
}

/** Ranges from which clusters assign node addresses: RFC 1918 and RFC 6598. */
const PRIVATE = /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/;

/** Simplifies a formula by replacing tests that have the same result for all of a caller's calls. */
function assuming(condition: Condition, one: OneOf, caller: Condition): Condition {
  const [required] = requiredTextTests(caller);
  const answer = (test: Test): boolean | undefined => {
    if (test.op === 'address') return isUnlisted(test, one) ? false : undefined;
    if (test.op === 'text')
      return !one.peer && test.field.startsWith('peer.')
        ? false
        : impliedTestResult(test.test, required!.get(test.field));
    if (test.field === 'peer') return one.peer !== undefined;
    return test.field.startsWith('custom:') ? false : undefined;
  };
  return replaceTests(condition, (test) => {
    const answered = answer(test);
    return answered === undefined ? test : answered ? ALWAYS : NEVER;
  });
}

/** Whether a policy's address list does not include the client. Anonymous clients are assumed not to be on any list. */
function isUnlisted(
  { field, range }: Extract<Test, { readonly op: 'address' }>,
  { peer, throughNodes }: OneOf,
): boolean {
  const isOfClient = field === 'remote.ip' || (field === 'source.ip' && !peer);
  return isOfClient && isNarrow(range) && !(throughNodes && PRIVATE.test(range));
}
