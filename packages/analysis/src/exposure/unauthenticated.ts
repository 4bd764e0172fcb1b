/**
 * Evaluates policies for anonymous clients, which call from outside the mesh and have no token. A workload behind a
 * gateway sees the gateway's principal instead of the client's. The diff's formulas determine exactly whether the
 * policies allow such a call (docs/decisions/0018-one-reading-of-istio.md). If the files leave some properties of the
 * call open, one allowed variant is enough for a warning.
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

/** The peer as seen by the enforcing proxy. */
export interface Peer {
  readonly trustDomain: string;
  readonly namespace: string;
  /** The name of the ServiceAccount. Undefined if it is unknown, in which case it could be any. */
  readonly serviceAccount: string | undefined;
}

/** The anonymous calls on a route, as seen by an enforcing proxy. */
export interface UnauthenticatedCalls {
  /** The possible peers. Empty for plaintext, and for TLS without a mesh certificate. */
  readonly peers: readonly Peer[];
  /** The possible hosts, in VirtualService syntax. Empty if every host matches. */
  readonly hosts: readonly string[];
  /** The alternative matches of the route. Empty if every request matches. */
  readonly matches: readonly HttpMatch[];
  /** Whether connections may come from a node's address, which could be in any private range. */
  readonly throughNodes?: boolean;
}

/** A combination of one peer, one host and one match out of the alternatives. */
interface OneOf {
  readonly peer: Peer | undefined;
  readonly host: string;
  readonly match: HttpMatch;
  readonly throughNodes: boolean;
}

/**
 * Searches for a call that the policies allow. Returns `refused` if there is none, or `too large` if the policies are
 * too complex to evaluate.
 */
export function findAllowedCall(portPolicy: PortPolicy, calls: UnauthenticatedCalls): Call | 'refused' | 'too large' {
  let answer: Call | 'refused' | 'too large' = 'refused';
  for (const one of alternatives(calls)) {
    // Most rules of a gateway are for other hosts and paths. Simplifying the formula first removes them.
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
 * Adds a variant of the host that includes a port. Gateways ignore the port, but policies compare it. Source:
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
      if (isNormal(example)) return example;
      first ??= example;
      if (++looked >= MOST_EXAMPLES) break;
    }
    return first ?? 'refused';
  } catch (error) {
    if (error instanceof MeshpassError && error.code === 'policy_too_large') return 'too large';
    throw error;
  }
}

/** The maximum number of examples to try while looking for one whose path is not changed by Envoy's normalization. */
const MOST_EXAMPLES = 50;

/** Whether no entry point would normalize the path of a call. */
export function isNormal({ texts }: Call): boolean {
  const path = texts.get('path');
  return path === undefined || normalizePath(path, 'BASE') === path;
}

/** Returns a condition that describes all calls of a caller: its connection, host and match. */
function callerCondition({ peer, host, match }: OneOf): Condition {
  // Token claims are evaluated separately, and the scheme and port follow from the entry point.
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
 * Requires the client address to be an IPv4 address, so that 0.0.0.0/0 matches every client. A workload sees the
 * gateway's address instead, which may be in any range.
 */
function addressCondition(allowed: Condition, { peer }: OneOf): Condition {
  const tests = [...testsOf(allowed, new Set())];
  const asked = (['source.ip', 'remote.ip'] as const).filter(
    (field) => (field === 'remote.ip' || !peer) && tests.some((one) => one.op === 'address' && one.field === field),
  );
  return all(asked.map((field): Condition => ({ op: 'address', field, range: '0.0.0.0/0' })));
}

/** Matches the private ranges from which node addresses are assigned (RFC 1918 and RFC 6598). */
const PRIVATE = /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/;

/** Simplifies a formula by resolving the tests that have the same result for every call of a caller. */
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

/**
 * Checks whether an address list in a policy excludes the client. Anonymous clients are assumed not to be on any list.
 */
function isUnlisted(
  { field, range }: Extract<Test, { readonly op: 'address' }>,
  { peer, throughNodes }: OneOf,
): boolean {
  const isOfClient = field === 'remote.ip' || (field === 'source.ip' && !peer);
  return isOfClient && isNarrow(range) && !(throughNodes && PRIVATE.test(range));
}
