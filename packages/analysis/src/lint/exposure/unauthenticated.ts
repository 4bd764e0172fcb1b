/**
 * Calls of somebody without an identity: from outside, without a token, whom the workload behind a gateway sees under the gateway's own
 * principal. Whether policies let one of them in is asked of the formulas that diff uses (docs/decisions/0018-one-reading-of-istio.md),
 * exactly. Where files leave open how the call looks, one that passes is enough: the answer that warns.
 */
import { MeshpassError } from '@meshpass/identity';
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import type { Call } from '../../diff/formula/call.ts';
import {
  ALWAYS,
  all,
  any,
  type Condition,
  flag,
  NEVER,
  not,
  type Test,
  type TextField,
  testsOf,
  text as textOf,
} from '../../diff/formula/condition.ts';
import { createSpace } from '../../diff/formula/space.ts';
import { passes, readText, type TextTest } from '../../diff/formula/text-test.ts';
import type { PortPolicy } from '../../diff/policy-index.ts';
import { normalizePath } from '../../evaluate/rule/path.ts';

/** Whom the enforcing proxy sees. */
export interface Peer {
  readonly trustDomain: string;
  readonly namespace: string;
  /** Undefined: not known, any. */
  readonly serviceAccount: string | undefined;
}

/** Anonymous calls of a route, as an enforcing proxy sees them. */
export interface UnauthenticatedCalls {
  /** Alternatives; empty: plain text, or TLS without a certificate of the mesh. */
  readonly peers: readonly Peer[];
  /** Alternatives, of a VirtualService; empty: any. */
  readonly hosts: readonly string[];
  /** Alternatives; empty: any. */
  readonly matches: readonly HttpMatch[];
}

/** One alternative of each. */
interface OneOf {
  readonly peer: Peer | undefined;
  readonly host: string;
  readonly match: HttpMatch;
}

/** One of the calls that is let in; `refused` where there is none, `too large` where the policies are too many to say. */
export function findAllowedCall(portPolicy: PortPolicy, calls: UnauthenticatedCalls): Call | 'refused' | 'too large' {
  let answer: Call | 'refused' | 'too large' = 'refused';
  for (const one of alternatives(calls)) {
    // Most rules of a gateway are about hosts and paths of others: they fall away before sets of calls are built.
    const allowed = assuming(portPolicy.allowed, one);
    if (allowed === NEVER) continue;
    const found = exampleOf(allowed, callerCondition(allowed, one));
    if (typeof found === 'object') return found;
    if (found === 'too large') answer = found;
  }
  return answer;
}

function alternatives({ peers, hosts, matches }: UnauthenticatedCalls): readonly OneOf[] {
  const from = peers.length > 0 ? peers : [undefined];
  const under = hosts.length > 0 ? hosts.map((host) => host.toLowerCase()) : ['*'];
  const by = matches.length > 0 ? matches : [{}];
  return from.flatMap((peer) => under.flatMap((host) => by.map((match) => ({ peer, host, match }))));
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

/** Of examples with a path that Envoy would write otherwise, so many are passed over for a better one. */
const MOST_EXAMPLES = 50;

function isSent({ texts: fields }: Call): boolean {
  const path = fields.get('path');
  return path === undefined || normalizePath(path, 'BASE') === path;
}

/** What is not decided by `assuming`, and so is left in the formula. */
function callerCondition(allowed: Condition, { peer, host, match }: OneOf): Condition {
  const tests = [...testsOf(allowed, new Set())];
  const asked = (field: 'source.ip' | 'remote.ip') =>
    // IPv4, so that 0.0.0.0/0 is everybody. A workload sees the gateway's address, which any range may hold.
    (field === 'remote.ip' || !peer) && tests.some((one) => one.op === 'address' && one.field === field);
  return all([
    ...(peer ? [flag('peer'), ...peerConditions(peer)] : [not(flag('peer'))]),
    ...(['source.ip', 'remote.ip'] as const)
      .filter(asked)
      .map((field): Condition => ({ op: 'address', field, range: '0.0.0.0/0' })),
    ...conditionsOf('host', hostMatch(host)),
    ...stringMatches(match).flatMap(([field, wanted]) => conditionsOf(field, wanted)),
  ]);
}

function peerConditions({ trustDomain, namespace, serviceAccount }: Peer): readonly Condition[] {
  return [
    ...conditionsOf('peer.trustDomain', readText(trustDomain)),
    ...conditionsOf('peer.namespace', readText(namespace)),
    ...(serviceAccount === undefined ? [] : conditionsOf('peer.account', readText(serviceAccount))),
  ];
}

function conditionsOf(field: TextField, wanted: TextTest | undefined): readonly Condition[] {
  return wanted ? [textOf(field, wanted)] : [];
}

/** Undefined: any. Host names do not tell upper from lower case. */
function hostMatch(host: string): TextTest | undefined {
  return host === '*' ? undefined : readText(host);
}

/** Regular expressions, and what a caller may leave out, are not looked at: any value. */
function stringMatches({ uri, method, headers }: HttpMatch): readonly (readonly [TextField, TextTest | undefined])[] {
  const named = Object.entries(record<StringMatch>(headers)).filter(([name]) => !name.startsWith('@'));
  return [
    ['path', readMatch('path', uri)],
    ['method', readMatch('method', method)],
    ...named.map(([name, match]) => {
      const field = `header:${name.toLowerCase()}` as const;
      return [field, readMatch(field, match)] as const;
    }),
  ];
}

function readMatch(field: TextField, match: StringMatch | undefined): TextTest | undefined {
  const { exact, prefix } = record(match);
  if (typeof exact === 'string') return { form: 'exact', text: exact };
  // Every path begins with a slash; the API server takes no empty prefix.
  if (typeof prefix !== 'string' || prefix === '' || (field === 'path' && prefix === '/')) return undefined;
  return { form: 'prefix', text: prefix };
}

/** Ranges shorter than this hold so many that they are no list of who may come. */
const WIDEST_LIST = 8;

/** The formula, with every test answered whose answer is the same for all of these calls. */
function assuming(condition: Condition, one: OneOf): Condition {
  const matches = new Map<string, TextTest | undefined>([['host', hostMatch(one.host)], ...stringMatches(one.match)]);
  const peer: Readonly<Record<string, string | undefined>> = {
    'peer.trustDomain': one.peer?.trustDomain,
    'peer.namespace': one.peer?.namespace,
    'peer.account': one.peer?.serviceAccount,
  };
  const answer = (test: Test): boolean | undefined => {
    const { op, field } = test;
    if (op === 'flag')
      return field === 'peer' ? one.peer !== undefined : field.startsWith('custom:') ? false : undefined;
    if (op === 'address') {
      // An address that no policy lists: who is let in by his address is not anybody.
      const isListed = Number(test.range.split('/')[1] ?? 128) >= WIDEST_LIST;
      return isListed && field !== 'destination.ip' && (field === 'remote.ip' || !one.peer) ? false : undefined;
    }
    if (Object.hasOwn(peer, field)) {
      if (one.peer && peer[field] === undefined) return undefined;
      return passes(test.test, peer[field]);
    }
    return answerOf(test.test, matches.get(field));
  };
  const known = new Map<Condition, Condition>();
  const simplify = (part: Condition): Condition => {
    let simple = known.get(part);
    if (!simple) {
      simple = simplified(part);
      known.set(part, simple);
    }
    return simple;
  };
  const simplified = (part: Condition): Condition => {
    switch (part.op) {
      case 'constant':
        return part.value ? ALWAYS : NEVER;
      case 'all':
        return all(part.of.map(simplify));
      case 'any':
        return any(part.of.map(simplify));
      case 'not':
        return not(simplify(part.of));
      default: {
        const answered = answer(part);
        return answered === undefined ? part : answered ? ALWAYS : NEVER;
      }
    }
  };
  return simplify(condition);
}

/** Whether every text that passes `wanted` passes a test, or none does; undefined where it depends. */
function answerOf(test: TextTest, wanted: TextTest | undefined): boolean | undefined {
  if (wanted?.form === 'exact') return passes(test, wanted.text);
  if (wanted?.form === 'prefix') {
    if (test.form === 'exact') return test.text.startsWith(wanted.text) ? undefined : false;
    if (test.form !== 'prefix') return undefined;
    if (wanted.text.startsWith(test.text)) return true;
    return test.text.startsWith(wanted.text) ? undefined : false;
  }
  if (wanted?.form === 'suffix' && test.form === 'exact') return test.text.endsWith(wanted.text) ? undefined : false;
  return undefined;
}
