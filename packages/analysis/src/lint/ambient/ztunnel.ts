/**
 * Finds rules and modes that have no effect at a ztunnel, which can only evaluate ports, addresses and certificates.
 */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  isDryRun,
  type Labels,
  type MeshView,
  type PeerAuthentication,
  type PeerModes,
  peerAuthentications,
  peerModesOf,
  type RequestAuthentication,
  ztunnelPeerModes,
  ztunnelRule,
} from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { rulesOf } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';
import {
  type AmbientWorkload,
  ambientWorkloads,
  isMeshpassPolicy,
  waypointSelected,
  workloadsOf,
} from './workloads.ts';

/** Reports policies that have no effect at a ztunnel, or that reject all calls there. */
export const deadAtZtunnel: Rule = {
  code: 'MP317',
  name: 'dead-at-ztunnel',
  severity: 'error',
  title: 'A rule on a workload in ambient mode has a field that ztunnel does not evaluate',
  fix: 'Put a waypoint before the Service and attach the policy with `targetRefs`; or limit the rule to ports, addresses, principals and namespaces.',
  *check(context) {
    if (ambientWorkloads(context.mesh).length === 0) return;
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (isDryRun(policy) || isMeshpassPolicy(policy) || waypointSelected(context.mesh, policy)) continue;
      const [workload] = workloadsOf(context.mesh, policy);
      if (workload) yield* deadRules(policy, workload);
    }
    yield* unreadTokens(context);
    yield* lostModes(context);
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
    const { unread, dead } = ztunnelRule(rule.value as AuthorizationRule, action);
    const field = dead?.[0] ?? unread[0];
    if (!field) continue;
    const at = { on: policy, path: [...rule.path, ...field.path], part: 'key' as const };
    const why = `ztunnel, which guards ${described}, does not evaluate ${field.name}`;
    const isKept = action === 'ALLOW' && !dead && unread.every(({ isIgnored }) => isIgnored);
    if (isKept) {
      yield { ...at, message: `${why}: this rule allows all that the rest of it matches.` };
    } else if (action === 'ALLOW') {
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

/**
 * Reports RequestAuthentications that apply to ambient workloads. Those in the root namespace are not reported, because
 * they also apply to sidecars.
 */
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

/** Reports ports for which a sidecar would require mutual TLS but a ztunnel does not. */
function* lostModes({ mesh }: LintContext): Generator<Report> {
  const reported = new Set<PeerAuthentication>();
  for (const { namespace, labels, described } of ambientWorkloads(mesh)) {
    const lost = labels && lostAt(mesh, namespace, labels);
    if (!lost || reported.has(lost.policy)) continue;
    reported.add(lost.policy);
    const [which, at] = lost.port === undefined ? ['every port', []] : [`port ${lost.port}`, [String(lost.port)]];
    yield {
      on: lost.policy,
      path: ['spec', 'portLevelMtls', ...at],
      part: 'key',
      message: `istiod does not send this to the ztunnel, which guards ${described}: ${which} accepts plain text there.`,
    };
  }
}

/**
 * Finds the workload's own policy whose mode is not enforced by the ztunnel, and the port it affects. If every port is
 * affected, the port is undefined.
 */
function lostAt(
  mesh: MeshView,
  namespace: string,
  labels: Labels,
): { readonly policy: PeerAuthentication; readonly port: number | undefined } | undefined {
  const sidecar = peerModesOf(mesh, { namespace, labels, kind: 'sidecar' });
  const policies = peerAuthentications(mesh, { namespace });
  const ztunnel = ztunnelPeerModes(policies, { namespace, labels }, mesh.config.rootNamespace);
  const own = [...sidecar.ports.values()].find(({ policy }) => policy?.spec.portLevelMtls)?.policy;
  const isLost = (port: number | undefined) => modeAt(sidecar, port) === 'STRICT' && modeAt(ztunnel, port) !== 'STRICT';
  if (!own) return undefined;
  const port = [undefined, ...sidecar.ports.keys()].find(isLost);
  return port === undefined && !isLost(undefined) ? undefined : { policy: own, port };
}

function modeAt({ general, ports }: PeerModes, port: number | undefined): string {
  return ((port === undefined ? undefined : ports.get(port)) ?? general).mode;
}
