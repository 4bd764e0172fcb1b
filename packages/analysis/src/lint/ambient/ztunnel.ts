/**
 * Rules that ztunnel cannot evaluate. It reads ports, addresses and certificates only. Source: `handleRule` in
 * pilot/pkg/serviceregistry/ambient/authorization.go of Istio 1.31; compared with a real ztunnel.
 */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  isDryRun,
  type Path,
  type RequestAuthentication,
} from '@meshpass/istio';
import { items, text, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { conditionsOf, operationsOf, type PolicyPart, rulesOf, sourcesOf } from '../places.ts';
import type { Report, Rule } from '../rule.ts';
import { type AmbientWorkload, ambientWorkloads, isOfMeshpass, waypointSelected, workloadsOf } from './workloads.ts';

const L7 = new Set([
  ...['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'],
  ...['requestPrincipals', 'notRequestPrincipals', 'remoteIpBlocks', 'notRemoteIpBlocks'],
]);
const L4 = new Set([
  ...['ports', 'notPorts', 'principals', 'notPrincipals', 'namespaces', 'notNamespaces'],
  ...['serviceAccounts', 'notServiceAccounts', 'ipBlocks', 'notIpBlocks'],
]);
const L4_CONDITIONS = new Set([
  ...['source.ip', 'source.namespace', 'source.principal', 'destination.ip', 'destination.port'],
]);

/** Field that ztunnel does not evaluate. */
interface Field {
  readonly name: string;
  readonly path: Path;
}

/** Alternative within a clause: a source, an operation, or a condition. */
interface Element {
  readonly isEvaluated: boolean;
  readonly dropped: readonly Field[];
}

/** A policy has no effect at ztunnel, or refuses everything there. */
export const deadAtZtunnel: Rule = {
  code: 'MP317',
  name: 'dead-at-ztunnel',
  severity: 'error',
  title: 'A rule on a workload in ambient mode has a field that ztunnel does not evaluate',
  fix: 'Put a waypoint before the Service and attach the policy with `targetRefs`; or limit the rule to ports, addresses, principals and namespaces.',
  *check(context) {
    if (ambientWorkloads(context.mesh).length === 0) return;
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (isDryRun(policy) || isOfMeshpass(policy) || waypointSelected(context.mesh, policy)) continue;
      const [workload] = workloadsOf(context.mesh, policy);
      if (workload) yield* deadRules(policy, workload);
    }
    yield* unreadTokens(context);
  },
};

function* deadRules(policy: AuthorizationPolicy, { described }: AmbientWorkload): Generator<Report> {
  const action = actionOf(policy);
  if (action === 'CUSTOM') {
    const message = `ztunnel, which guards ${described}, ignores CUSTOM policies: the external authorizer is not asked.`;
    yield { on: policy, path: ['spec', 'action'], message };
  }
  if (action !== 'ALLOW' && action !== 'DENY') return;
  for (const rule of rulesOf(policy)) {
    const clauses = clausesOf(rule);
    const [first] = clauses.flat().flatMap(({ dropped }) => dropped);
    if (!first) continue;
    const dead = clauses.find((elements) => !elements.some(({ isEvaluated }) => isEvaluated));
    const field = dead?.flatMap(({ dropped }) => dropped)[0] ?? first;
    const at = { on: policy, path: field.path, part: 'key' as const };
    const why = `ztunnel, which guards ${described}, does not evaluate ${field.name}`;
    if (action === 'ALLOW') {
      yield {
        ...at,
        message: `${why} and drops this rule: it allows nothing, and every connection that no other rule allows is refused.`,
      };
    } else if (dead) {
      yield { ...at, message: `${why}, so this rule matches no connection there: it denies nothing.` };
    } else {
      yield { ...at, severity: 'warning', message: `${why}: this rule denies all that the rest of it matches.` };
    }
  }
}

/** Returns the clauses of a rule, all of which must match, each with its alternatives. */
function clausesOf(rule: PolicyPart<AuthorizationRule>): readonly (readonly Element[])[] {
  const clauses = [
    operationsOf(rule).map(elementOf),
    sourcesOf(rule).map(elementOf),
    ...conditionsOf(rule).map(({ value, path }): readonly Element[] => {
      const key = text(value.key);
      const isEvaluated = key === undefined || L4_CONDITIONS.has(key);
      return [{ isEvaluated, dropped: isEvaluated ? [] : [{ name: key, path: [...path, 'key'] }] }];
    }),
  ];
  return clauses.filter((elements) => elements.length > 0);
}

function elementOf({ value, path }: PolicyPart<object>): Element {
  const lists = Object.entries(value)
    .filter(([, values]) => texts(values).length > 0)
    .map(([name]) => name);
  return {
    isEvaluated: lists.some((name) => L4.has(name)),
    dropped: lists.filter((name) => L7.has(name)).map((name) => ({ name, path: [...path, name] })),
  };
}

/** Reports RequestAuthentications of ambient workloads. One of the root namespace also serves sidecars. */
function* unreadTokens({ mesh }: LintContext): Generator<Report> {
  const isOwn = (policy: RequestAuthentication) => policy.metadata.namespace !== mesh.config.rootNamespace;
  for (const policy of mesh.all('RequestAuthentication').filter(isOwn)) {
    const [workload] = waypointSelected(mesh, policy) === undefined ? workloadsOf(mesh, policy) : [];
    if (!workload || items(policy.spec.jwtRules).length === 0) continue;
    yield {
      on: policy,
      path: ['spec', 'jwtRules'],
      part: 'key',
      message: `ztunnel, which guards ${workload.described}, verifies no tokens, and a waypoint reads only policies with targetRefs: this RequestAuthentication has no effect there.`,
    };
  }
}
