/**
 * Whether AuthorizationPolicies let somebody without an identity through: a caller from outside, who has no token that
 * was verified, and whom the workload behind a gateway sees under the gateway's own principal. Where the files leave it
 * open, the answer is the one that warns: ALLOW counts as letting in, DENY counts only where it takes the whole route.
 * Source: AuthorizationPolicy reference; pilot/pkg/security/authz/model.
 */
import { actionOf, isDryRun } from '../istio/authorization-policy.ts';
import type { StringMatch } from '../istio/networking.ts';
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
} from '../istio/security.ts';
import { coversHost } from './host.ts';
import { items, record, text, texts } from './read.ts';
import { type Share, shareOfPaths, takes } from './text-match.ts';

/** An anonymous call, as the enforcing proxy sees it. */
export interface AnonymousCall {
  /** The peer's principal without its trust domain (`ns/NS/sa/NAME`); undefined: the peer has none. */
  readonly peer: { readonly namespace: string; readonly serviceAccount: string | undefined } | undefined;
  /** Empty: any. */
  readonly hosts: readonly string[];
  /** Alternatives; empty: any path. */
  readonly uris: readonly (StringMatch | undefined)[];
  /** Of the workload; undefined where not known. */
  readonly port: number | undefined;
}

/** Why a call is refused; undefined: it passes, as far as these policies go. */
export function refusalOf(policies: readonly AuthorizationPolicy[], call: AnonymousCall): string | undefined {
  for (const policy of policies) {
    const action = actionOf(policy);
    if (isDryRun(policy) || (action !== 'DENY' && action !== 'CUSTOM')) continue;
    if (items(policy.spec.rules).some((rule) => ruleShare(rule, call) === 'all')) return nameOf(policy);
  }
  const allowing = policies.filter((one) => actionOf(one) === 'ALLOW' && !isDryRun(one));
  if (allowing.length === 0) return undefined;
  const admitted = allowing.some((policy) => items(policy.spec.rules).some((rule) => ruleShare(rule, call) !== 'none'));
  return admitted ? undefined : nameOf(allowing[0]!);
}

function nameOf(policy: AuthorizationPolicy): string {
  return `AuthorizationPolicy ${policy.metadata.namespace}/${policy.metadata.name}`;
}

/** How much of the call's route a rule takes. */
function ruleShare(rule: AuthorizationRule, call: AnonymousCall): Share {
  return both([
    anyOf(items(rule.from).map((from) => sourceShare(record(from.source) as AuthorizationSource, call))),
    anyOf(items(rule.to).map((to) => operationShare(record(to.operation) as AuthorizationOperation, call))),
    ...items(rule.when).map((condition) => conditionShare(condition, call)),
  ]);
}

function sourceShare(source: AuthorizationSource, call: AnonymousCall): Share {
  const { peer } = call;
  const shares: Share[] = [];
  if (texts(source.requestPrincipals).length > 0) shares.push('none');
  if (texts(source.ipBlocks).length + texts(source.remoteIpBlocks).length > 0) {
    const blocks = [...texts(source.ipBlocks), ...texts(source.remoteIpBlocks)];
    shares.push(blocks.some((one) => one.endsWith('/0')) ? 'all' : 'none');
  }
  const principals = texts(source.principals);
  if (principals.length > 0) shares.push(peer ? anyOf(principals.map((one) => principalShare(one, peer))) : 'none');
  const namespaces = texts(source.namespaces);
  if (namespaces.length > 0) {
    shares.push(peer && namespaces.some((one) => takes(one, peer.namespace)) ? 'all' : 'none');
  }
  const accounts = texts(source.serviceAccounts);
  if (accounts.length > 0) shares.push(peer ? anyOf(accounts.map((one) => accountShare(one, peer))) : 'none');
  if (peer) {
    const notPrincipals = texts(source.notPrincipals).map((one) => principalShare(one, peer));
    if (notPrincipals.length > 0) shares.push(inverse(anyOf(notPrincipals)));
    const notNamespaces = texts(source.notNamespaces);
    if (notNamespaces.some((one) => takes(one, peer.namespace))) shares.push('none');
  }
  if (texts(source.notIpBlocks).length + texts(source.notRemoteIpBlocks).length > 0) shares.push('some');
  return both(shares);
}

function principalShare(pattern: string, peer: NonNullable<AnonymousCall['peer']>): Share {
  if (peer.serviceAccount !== undefined) {
    const own = `ns/${peer.namespace}/sa/${peer.serviceAccount}`;
    const slash = pattern.indexOf('/');
    const without = slash >= 0 && !pattern.startsWith('*') ? pattern.slice(slash + 1) : pattern;
    return takes(without, own) || takes(pattern, `cluster.local/${own}`) ? 'all' : 'none';
  }
  return pattern.includes('/ns/') && !pattern.includes(`/ns/${peer.namespace}/`) ? 'none' : 'some';
}

function accountShare(written: string, peer: NonNullable<AnonymousCall['peer']>): Share {
  const [namespace, name] = written.includes('/') ? written.split('/') : [undefined, written];
  if (namespace !== undefined && namespace !== peer.namespace) return 'none';
  if (peer.serviceAccount === undefined) return 'some';
  return name === peer.serviceAccount ? 'all' : 'none';
}

function operationShare(operation: AuthorizationOperation, call: AnonymousCall): Share {
  const shares: Share[] = [];
  const paths = texts(operation.paths);
  if (paths.length > 0) shares.push(pathsShare(paths, call));
  const notPaths = texts(operation.notPaths);
  if (notPaths.length > 0) shares.push(inverse(pathsShare(notPaths, call)));
  const hosts = texts(operation.hosts);
  if (hosts.length > 0) shares.push(hostsShare(hosts, call));
  const notHosts = texts(operation.notHosts);
  if (notHosts.length > 0) shares.push(inverse(hostsShare(notHosts, call)));
  const ports = texts(operation.ports);
  if (ports.length > 0)
    shares.push(call.port === undefined ? 'some' : ports.includes(String(call.port)) ? 'all' : 'none');
  const notPorts = texts(operation.notPorts);
  if (notPorts.length > 0) {
    shares.push(call.port === undefined ? 'some' : notPorts.includes(String(call.port)) ? 'none' : 'all');
  }
  if (texts(operation.methods).length + texts(operation.notMethods).length > 0) shares.push('some');
  return both(shares);
}

function pathsShare(patterns: readonly string[], call: AnonymousCall): Share {
  const uris = call.uris.length > 0 ? call.uris : [undefined];
  const shares = uris.map((uri) => anyOf(patterns.map((pattern) => shareOfPaths(pattern, uri))));
  return shares.every((one) => one === 'all') ? 'all' : shares.every((one) => one === 'none') ? 'none' : 'some';
}

function hostsShare(patterns: readonly string[], call: AnonymousCall): Share {
  if (call.hosts.length === 0) return 'some';
  const bare = patterns.map((one) => one.replace(/:(?:\d+|\*)$/, ''));
  const shares = call.hosts.map((host): Share => {
    if (bare.some((one) => one === '*' || coversHost(one, host))) return 'all';
    return bare.some((one) => coversHost(host, one) || one.endsWith('*')) ? 'some' : 'none';
  });
  return shares.every((one) => one === 'all') ? 'all' : shares.every((one) => one === 'none') ? 'none' : 'some';
}

function conditionShare(condition: AuthorizationCondition, call: AnonymousCall): Share {
  const key = text(condition.key) ?? '';
  const values = texts(condition.values);
  const notValues = texts(condition.notValues);
  if (key.startsWith('request.auth.')) return values.length > 0 ? 'none' : 'all';
  if (key === 'source.ip' || key === 'remote.ip') return values.length > 0 ? 'none' : 'some';
  const source: Record<string, keyof AuthorizationSource> = {
    'source.principal': 'principals',
    'source.namespace': 'namespaces',
    'source.serviceAccount': 'serviceAccounts',
  };
  const member = source[key];
  if (!member) return 'some';
  const negative = `not${member.charAt(0).toUpperCase()}${member.slice(1)}`;
  return sourceShare(
    { ...(values.length > 0 && { [member]: values }), ...(notValues.length > 0 && { [negative]: notValues }) },
    call,
  );
}

/** Alternatives; none written means that everything is taken. */
function anyOf(shares: readonly Share[]): Share {
  if (shares.length === 0 || shares.includes('all')) return 'all';
  return shares.includes('some') ? 'some' : 'none';
}

function both(shares: readonly Share[]): Share {
  if (shares.includes('none')) return 'none';
  return shares.includes('some') ? 'some' : 'all';
}

function inverse(share: Share): Share {
  return share === 'all' ? 'none' : share === 'none' ? 'all' : 'some';
}
