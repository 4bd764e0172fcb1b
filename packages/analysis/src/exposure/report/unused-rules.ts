/**
 * Finds AuthorizationPolicy rules and access file grants that the access logs do not show in use. A rule is unused only
 * if the logs cover every workload that it protects and no call there can have matched it. Its use is unknown if a
 * field that it depends on is not logged, or if the logs contain no lines from one of the workloads.
 */

import type { ResolvedGrant } from '@meshpass/access/compile';
import { memoize } from '@meshpass/identity/memory/memoize';
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
import { type LogFields, logFieldText, refusalOf } from './access-log.ts';
import { evaluateLoggedCall, type LoggedCall, listMissingFields, loggedCall } from './logged-call.ts';
import { createLogLocator, type LoggedPlace } from './logged-place.ts';

/** Mesh whose rules and grants are compared with the logs. */
export interface LoggedMesh {
  readonly resources: readonly Resource[];
  /** Access file grants, resolved for this mesh. */
  readonly grants?: readonly ResolvedGrant[];
}

/** Rule or grant that the logs do not, or cannot, show in use. */
export interface RuleWithoutUse {
  readonly kind: 'rule' | 'grant';
  /** Description such as `ALLOW rule 1 of AuthorizationPolicy shop/orders`. */
  readonly name: string;
  readonly place: Place;
  /** Why the logs do not show whether it was used. Undefined if it was not used. */
  readonly unknown: string | undefined;
}

export interface RuleUsageCollector {
  readonly read: (fields: LogFields) => void;
  /** Returns the rules and grants that are unused or whose use is unknown, in the order of the objects. */
  readonly result: () => readonly RuleWithoutUse[];
}

/** Rule or grant, together with what the log lines have shown so far. */
interface Subject extends Omit<RuleWithoutUse, 'unknown'> {
  readonly isDeny: boolean;
  /** Workloads that the rule or grant applies to. */
  readonly workloads: Set<Workload>;
  /** Fields that are missing from the log for calls that may have matched this rule. */
  readonly missing: Set<string>;
  used: boolean;
  /** Why no log can show whether the rule was used. */
  readonly undecided?: string;
}

type Check = readonly [Subject, Condition];

/** Creates a collector that finds which rules and grants the log lines use. */
export function createRuleUsageCollector({ resources, grants = [] }: LoggedMesh): RuleUsageCollector {
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
    read(fields) {
      const at = places(fields);
      if (at.isCertain) for (const { workload } of at.endpoints) seen.add(workload);
      const refusal = refusalOf(fields);
      const denying = byId.get(DENYING.exec(refusal ?? '')?.[1] ?? '');
      if (denying) denying.used = true;
      const checks = at.endpoints.flatMap(checksAt).filter(([{ used }]) => !used);
      noteDenials(checks, fields);
      if (refusal === undefined) noteCalls(checks, at, loggedCall(fields, isRewritten));
    },
    result: () =>
      subjects
        .filter(({ used }) => !used)
        .map((subject) => ({
          kind: subject.kind,
          name: subject.name,
          place: subject.place,
          unknown: whyUnknown(subject, seen),
        })),
  };
}

/** Extracts the rule that denied a call. Source: Istio's pilot/pkg/security/authz/builder, and Envoy's RBAC filter. */
const DENYING = /^rbac_access_denied_matched_policy\[(ns\[.*\]-policy\[.*\]-rule\[\d+\])\]$/;

/** Marks the DENY rules whose denials a line cannot show because the response details are not logged. */
function noteDenials(checks: readonly Check[], fields: LogFields): void {
  const details =
    logFieldText(fields.method) === undefined ? 'connection_termination_details' : 'response_code_details';
  if (Object.hasOwn(fields, details)) return;
  for (const [{ isDeny, missing }] of checks) if (isDeny) missing.add(`why calls were refused (${details})`);
}

/** Marks the rules and grants that an allowed call matched, or may have matched. */
function noteCalls(checks: readonly Check[], { endpoints, isCertain }: LoggedPlace, call: LoggedCall): void {
  const allowing = checks.filter(([{ isDeny, undecided }]) => !isDeny && undecided === undefined);
  for (const [subject, some] of Map.groupBy(allowing, ([one]) => one)) {
    const results = some.map(([, condition]) => evaluateLoggedCall(call, condition));
    // The call may have reached any of the endpoints, so the rule must match at all of them.
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

/** Rule actions whose matches never appear in access logs. */
const UNLOGGED: Readonly<Record<string, string>> = {
  AUDIT: 'access logs do not show audited calls',
  CUSTOM: 'access logs do not show which calls the authorizer was asked about',
};

/** Returns the name that Envoy's configuration uses for a rule. */
function idOf({ metadata }: AuthorizationPolicy, rule: number): string {
  return `ns[${metadata.namespace}]-policy[${metadata.name}]-rule[${rule}]`;
}

/** Adds a workload if logs can identify it: a gateway, or a workload behind a Service. */
function guard({ workloads }: Subject, { workload, services }: Endpoint): void {
  if (services.length > 0 || workload.kind === 'gateway') workloads.add(workload);
}

/** Lists the endpoints that a grant opens, and the calls there from its holders (identities in its namespace). */
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
