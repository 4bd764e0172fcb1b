/**
 * Finds policies that have no effect at a waypoint. A waypoint only enforces policies with `targetRefs`, and it
 * forwards calls under its own identity. Clients that have a sidecar bypass it. Source: `ShouldAttachPolicy` in
 * pilot/pkg/model/policyattachment.go of Istio 1.31; compared with a real waypoint.
 */
import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  actionOf,
  attaches,
  isDryRun,
  isForSidecars,
  type MeshView,
  type RequestAuthentication,
  type Service,
  type TargetRef,
  targetRefs,
  type Waypoint,
} from '@meshpass/istio';
import { describeObject } from '../../exposure/describe.ts';
import type { LintContext } from '../context.ts';
import { findPeerIdentityPart, rulesOf } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';
import {
  type AmbientWorkload,
  ambientWorkloads,
  findSidecarWorkload,
  isMeshpassPolicy,
  waypointSelected,
  workloadsOf,
} from './workloads.ts';

/**
 * Reports policies that are ignored by the waypoint that they appear to target, or that are not enforced for some
 * callers.
 */
export const deadAtWaypoint: Rule = {
  code: 'MP318',
  name: 'dead-at-waypoint',
  severity: 'error',
  title: 'A policy does not hold at a waypoint, or clients with a sidecar bypass the waypoint',
  fix: 'Attach the policy with `targetRefs` to the Service or the waypoint. Against a bypass, add an ALLOW for the Pods with the principal of the waypoint, and move these clients to ambient mode.',
  *check(context) {
    const { mesh } = context;
    for (const policy of [...mesh.all('AuthorizationPolicy'), ...mesh.all('RequestAuthentication')]) {
      yield* selectsWaypoint(context, policy);
      yield* deadTargets(context, policy);
      if (policy.kind === 'RequestAuthentication' || isDryRun(policy)) continue;
      if (isForSidecars(policy)) yield* deniesWaypoint(mesh, policy);
      else yield* bypassed(mesh, policy);
    }
  },
};

/** Reports a policy whose selector matches the Pods of a waypoint. */
function* selectsWaypoint(
  { mesh }: LintContext,
  policy: AuthorizationPolicy | RequestAuthentication,
): Generator<Report> {
  const name = waypointSelected(mesh, policy);
  if (name === undefined) return;
  yield {
    on: policy,
    path: ['spec', 'selector'],
    part: 'key',
    message: `waypoint ${name} ignores this policy: waypoints enforce only policies with targetRefs.`,
  };
}

/** Reports a DENY policy that identifies callers, if the Pods that enforce it see the waypoint as the caller. */
function* deniesWaypoint(mesh: MeshView, policy: AuthorizationPolicy): Generator<Report> {
  if (actionOf(policy) !== 'DENY' || isMeshpassPolicy(policy)) return;
  const behind = workloadsOf(mesh, policy).find(({ bound }) => bound.length > 0);
  if (!behind) return;
  const waypoint = describeObject(behind.bound[0]!.waypoint.gateway);
  for (const rule of rulesOf(policy)) {
    const at = findPeerIdentityPart(rule);
    if (!at) continue;
    yield {
      on: policy,
      ...at,
      message: `the waypoint, ${waypoint}, ignores this policy, and ${behind.described} behind it sees the waypoint as the caller: calls through the waypoint are not denied.`,
    };
  }
}

/** Finds workloads whose Pods have an ALLOW policy, because that policy might allow calls from the waypoint only. */
const guardedWorkloads = memoize((mesh: MeshView): ReadonlySet<AmbientWorkload> => {
  const allowing = mesh.all('AuthorizationPolicy').filter((one) => actionOf(one) === 'ALLOW' && !isDryRun(one));
  return new Set(allowing.flatMap((one) => workloadsOf(mesh, one)));
});

/** Reports a policy at a waypoint if clients with a sidecar bypass the waypoint and connect directly to the Pods. */
function* bypassed(mesh: MeshView, policy: AuthorizationPolicy): Generator<Report> {
  const sidecar = findSidecarWorkload(mesh);
  if (!sidecar) return;
  for (const workload of ambientWorkloads(mesh)) {
    const attached = workload.bound.find(({ service, waypoint }) => isAttached(mesh, policy, service, waypoint));
    if (!attached || guardedWorkloads(mesh).has(workload)) continue;
    yield {
      on: policy,
      path: ['spec', policy.spec.targetRefs ? 'targetRefs' : 'targetRef'],
      part: 'key',
      message: `clients with a sidecar, such as ${sidecar}, connect to ${workload.described} without the waypoint: this policy does not apply to their calls to ${describeObject(attached.service)}.`,
    };
    return;
  }
}

/** Checks whether a policy is attached to a Service behind a waypoint. */
function isAttached(mesh: MeshView, policy: AuthorizationPolicy, { metadata }: Service, { proxy }: Waypoint): boolean {
  const service = { kind: 'Service', namespace: metadata.namespace, name: metadata.name } as const;
  return attaches(policy, proxy, mesh.config.rootNamespace, service);
}

const GATEWAY_API = 'gateway.networking.k8s.io';

/** The API groups of the kinds that a policy can target. */
const GROUPS: Readonly<Record<string, readonly (string | undefined)[]>> = {
  Service: ['', 'core', undefined],
  ServiceEntry: ['networking.istio.io'],
  Gateway: [GATEWAY_API],
  GatewayClass: [GATEWAY_API],
};

/** Reports targets that do not exist or cannot be targeted by a policy. The policy has no effect on them. */
function* deadTargets(context: LintContext, policy: AuthorizationPolicy | RequestAuthentication): Generator<Report> {
  for (const [index, target] of targetRefs(policy.spec).entries()) {
    const why = whyDead(context, policy.metadata.namespace, target);
    if (why === undefined) continue;
    yield {
      on: policy,
      path: ['spec', ...(policy.spec.targetRefs?.length ? ['targetRefs', index] : ['targetRef'])],
      message: `${why}: the policy does not apply there.`,
      severity: 'warning',
    };
  }
}

function whyDead(
  { mesh, complete }: LintContext,
  namespace: string,
  { kind = '', group, name }: TargetRef,
): string | undefined {
  const groups = GROUPS[kind];
  if (groups && !groups.includes(group)) return `${kind} is not a kind of the group ${JSON.stringify(group ?? '')}`;
  if (kind === 'GatewayClass') {
    const { rootNamespace } = mesh.config;
    return namespace === rootNamespace
      ? undefined
      : `a GatewayClass can be targeted only from namespace ${rootNamespace}`;
  }
  if ((kind !== 'Service' && kind !== 'Gateway') || typeof name !== 'string') return undefined;
  const known = mesh.within(kind === 'Gateway' ? 'KubernetesGateway' : kind, namespace);
  // The files may cover only part of the mesh. If they contain no such objects for a namespace, those objects may be
  // defined elsewhere.
  const isMissing = (complete || known.length > 0) && !known.some(({ metadata }) => metadata.name === name);
  return isMissing ? `${kind} ${namespace}/${name} does not exist` : undefined;
}
