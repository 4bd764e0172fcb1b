/**
 * Finds AuthorizationPolicy rules and access file grants that are not used, according to the access logs. A rule is
 * only reported as unused if the logs cover every workload that it protects and none of the logged calls could have
 * matched it. Its use is unknown if it depends on a field that is not logged, or if the logs contain no lines from one
 * of the workloads.
 */

import type { ResolvedGrant } from '@meshpass/access/compile';
import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  actionOf,
  findMeshConfig,
  isDryRun,
  type MeshSettings,
  type Place,
  type Resource,
  type Workload,
} from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';
import { type Endpoint, endpointsOf } from '../../diff/endpoint.ts';
import { all, any, type Condition, flag, not, path, text } from '../../diff/formula/condition.ts';
import { indexPolicies } from '../../diff/policy-index.ts';
import {
  createLogLocator,
  evaluateLoggedCall,
  type LogFields,
  type LoggedCall,
  type LoggedPlace,
  listMissingFields,
  logFieldText,
  loggedCall,
  refusalOf,
} from './access-log.ts';

/** A mesh whose rules and grants are compared with the access logs. */
export interface LoggedMesh {
  readonly resources: readonly Resource[];
  /** The grants from access files, resolved for this mesh. */
  readonly grants?: readonly ResolvedGrant[];
}

/** A rule or grant that is unused according to the logs, or whose use they cannot determine. */
export interface RuleWithoutUse {
  readonly kind: 'rule' | 'grant';
  /** A description such as `ALLOW rule 1 of AuthorizationPolicy shop/orders`. */
  readonly name: string;
  readonly place: Place;
  /** The reason why the logs do not show whether it was used. Undefined if it was not used. */
  readonly unknown: string | undefined;
}

/** A rule or grant, together with the evidence from the log lines read so far. */
interface Subject extends Omit<RuleWithoutUse, 'unknown'> {
  readonly isDeny: boolean;
  /** The workloads that the rule or grant applies to. */
  readonly workloads: Set<Workload>;
  /** The fields that are missing from logged calls that could have matched this rule. */
  readonly missing: Set<string>;
  used: boolean;
  /** The reason why no log can ever show whether the rule was used. */
  readonly undecided?: string;
}

type Check = readonly [Subject, Condition];

/** Creates a collector that determines from log lines which rules and grants are used. */
export function createRuleUsageCollector({ resources, grants = [] }: LoggedMesh) {
  const { authorizers, ...config } = findMeshConfig(resources);
  const settings: MeshSettings = { ...config, ...(config.isRead && { authorizers }) };
  const index = indexPolicies(resources, settings);
  const endpoints = endpointsOf(resources, [index], settings);
  const byPolicy = subjectsOf(resources);
  const subjects = [...byPolicy.values()].flat();
  const granted = new Map<Endpoint, Check[]>();
  for (const grant of grants) {
    const subject = subjectOf('grant', `grant ${grant.grant.name}`, grant.grant.place);
    subjects.push(subject);
    for (const [endpoint, condition] of callsGranted(grant, endpoints)) {
      guard(subject, endpoint);
      granted.set(endpoint, [...(granted.get(endpoint) ?? []), [subject, condition]]);
    }
  }
  const enforcedAt = ({ workload, port, protocol }: Endpoint) => index.at(workload, port, protocol).policies();
  for (const endpoint of endpoints)
    for (const { policy } of enforcedAt(endpoint)) for (const one of byPolicy.get(policy) ?? []) guard(one, endpoint);
  const checksAt = memoize((endpoint: Endpoint): readonly Check[] => [
    ...enforcedAt(endpoint).flatMap(({ policy, rules }) =>
      (byPolicy.get(policy) ?? []).map((subject, at): Check => [subject, rules[at]!]),
    ),
    ...(granted.get(endpoint) ?? []),
  ]);
  const byId = new Map([...byPolicy].flatMap(([policy, some]) => some.map((one, at) => [idOf(policy, at), one])));
  const places = createLogLocator(endpoints);
  const isRewritten = resources.some(rewritesPaths);
  const seen = new Set<Workload>();
  return {
    read(fields: LogFields): void {
      const at = places(fields);
      if (at.isCertain) for (const { workload } of at.endpoints) seen.add(workload);
      const refusal = refusalOf(fields);
      const denying = byId.get(DENYING.exec(refusal ?? '')?.[1] ?? '');
      if (denying) denying.used = true;
      const checks = at.endpoints.flatMap(checksAt).filter(([{ used }]) => !used);
      noteDenials(checks, fields);
      if (refusal === undefined) noteCalls(checks, at, loggedCall(fields, isRewritten));
    },
    /** Returns the rules and grants that are unused or whose use is unknown, in the order of their objects. */
    result: (): readonly RuleWithoutUse[] =>
      subjects
        .filter(({ used }) => !used)
        .map((subject) => {
          const { kind, name, place } = subject;
          return { kind, name, place, unknown: whyUnknown(subject, seen) };
        }),
  };
}

/**
 * Extracts the rule that rejected a call. Sources: pilot/pkg/security/authz/builder in Istio, and Envoy's RBAC filter.
 */
const DENYING = /^rbac_access_denied_matched_policy\[(ns\[.*\]-policy\[.*\]-rule\[\d+\])\]$/;

/** Records which DENY rules might have rejected the call if the line does not contain the response details. */
function noteDenials(checks: readonly Check[], fields: LogFields): void {
  const details =
    logFieldText(fields.method) === undefined ? 'connection_termination_details' : 'response_code_details';
  if (Object.hasOwn(fields, details)) return;
  for (const [{ isDeny, missing }] of checks) if (isDeny) missing.add(`why calls were refused (${details})`);
}

/** Records which rules and grants an allowed call matched, or might have matched. */
function noteCalls(checks: readonly Check[], { endpoints, isCertain }: LoggedPlace, call: LoggedCall): void {
  const allowing = checks.filter(([{ isDeny, undecided }]) => !isDeny && undecided === undefined);
  for (const [subject, some] of Map.groupBy(allowing, ([one]) => one)) {
    const results = some.map(([, condition]) => evaluateLoggedCall(call, condition));
    // The call may have reached any of these endpoints, so the rule must match at every one of them.
    if (isCertain && results.length === endpoints.length && results.every((one) => one === true)) subject.used = true;
    else if (results.includes(true)) subject.missing.add('which workload was called');
    else if (results.includes(undefined))
      for (const one of some.flatMap(([, condition]) => listMissingFields(call, condition))) subject.missing.add(one);
  }
}

function subjectOf(
  kind: RuleWithoutUse['kind'],
  name: string,
  place: Place,
  { isDeny = false, undecided }: { readonly isDeny?: boolean; readonly undecided?: string | undefined } = {},
): Subject {
  const state = { workloads: new Set<Workload>(), missing: new Set<string>(), used: false };
  return { kind, name, place, isDeny, ...state, ...(undecided !== undefined && { undecided }) };
}

function subjectsOf(resources: readonly Resource[]): ReadonlyMap<AuthorizationPolicy, readonly Subject[]> {
  const policies = resources.filter((one): one is AuthorizationPolicy => one.kind === 'AuthorizationPolicy');
  return new Map(
    policies.map((policy) => {
      const { metadata, spec, origin } = policy;
      const action = actionOf(policy);
      const rules = (spec.rules ?? []).map((_, at) =>
        subjectOf(
          'rule',
          `${action} rule ${at + 1} of AuthorizationPolicy ${metadata.namespace}/${metadata.name}`,
          origin.at(['spec', 'rules', at]),
          { isDeny: action === 'DENY', undecided: isDryRun(policy) ? 'it is in dry run' : UNLOGGED[action] },
        ),
      );
      return [policy, rules];
    }),
  );
}

/** The rule actions whose matches never appear in access logs. */
const UNLOGGED: Readonly<Record<string, string>> = {
  AUDIT: 'access logs do not show audited calls',
  CUSTOM: 'access logs do not show which calls the authorizer was asked about',
};

/** Returns the name of a rule in Envoy's configuration. */
function idOf({ metadata }: AuthorizationPolicy, rule: number): string {
  return `ns[${metadata.namespace}]-policy[${metadata.name}]-rule[${rule}]`;
}

/**
 * Adds a workload if its log lines can be identified, which requires a gateway or a Service in front of the workload.
 */
function guard({ workloads }: Subject, { workload, services }: Endpoint): void {
  if (services.length > 0 || workload.kind === 'gateway') workloads.add(workload);
}

/**
 * Lists the endpoints that a grant opens, along with the calls that it allows there. The grant applies to all
 * identities in its namespace.
 */
function* callsGranted(
  { namespace, targets }: ResolvedGrant,
  endpoints: readonly Endpoint[],
): Generator<readonly [Endpoint, Condition]> {
  const holder = all([flag('peer'), text('peer.namespace', { form: 'exact', text: namespace })]);
  type Operations = NonNullable<ResolvedGrant['targets'][number]['target']['allow']>;
  const some = (operations: Operations) =>
    any(
      operations.map(({ method, path: at }) =>
        all([path(at), ...(method === '*' ? [] : [text('method', { form: 'exact', text: method })])]),
      ),
    );
  for (const { target, service, port } of targets) {
    const condition = all([
      holder,
      ...(target.allow ? [some(target.allow)] : []),
      ...(target.deny ? [not(some(target.deny))] : []),
    ]);
    for (const one of endpoints)
      if (one.services.includes(`${service.name}.${service.namespace}:${port.port}`)) yield [one, condition];
  }
}

function rewritesPaths(one: Resource): boolean {
  if (one.kind !== 'VirtualService' && one.kind !== 'HTTPRoute') return false;
  return /"(?:rewrite|urlRewrite)":/.test(JSON.stringify(one.spec));
}

function whyUnknown({ undecided, missing, workloads }: Subject, seen: ReadonlySet<Workload>): string | undefined {
  if (undecided !== undefined) return undecided;
  if (missing.size > 0) return `the log does not show ${listed([...missing])}`;
  if (workloads.size === 0) return 'no gateway and no Service among the objects leads to a workload that it guards';
  const names = [...workloads].filter((one) => !seen.has(one)).map(({ name }) => name);
  return names.length === 0 ? undefined : `the logs have no line from ${listed([...new Set(names)].sort(), 3)}`;
}
