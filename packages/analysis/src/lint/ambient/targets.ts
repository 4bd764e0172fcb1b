/**
 * Targets of policies that no proxy has. Source: `ShouldAttachPolicy` in pilot/pkg/model/policyattachment.go of Istio
 * 1.31.
 */
import { type AuthorizationPolicy, type RequestAuthentication, type TargetRef, targetRefs } from '@meshpass/istio';
import type { LintContext } from '../context.ts';
import type { Report } from '../rule.ts';

const GATEWAY_API = 'gateway.networking.k8s.io';

/** Groups of the kinds that a policy may target. */
const GROUPS: Readonly<Record<string, readonly (string | undefined)[]>> = {
  Service: ['', 'core', undefined],
  ServiceEntry: ['networking.istio.io'],
  Gateway: [GATEWAY_API],
  GatewayClass: [GATEWAY_API],
};

/** Reports targets because of which a policy has no effect. */
export function* deadTargets(
  context: LintContext,
  policy: AuthorizationPolicy | RequestAuthentication,
): Generator<Report> {
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
  // The files may cover only part of the mesh, so nothing is known about a namespace without such objects.
  const isMissing = (complete || known.length > 0) && !known.some(({ metadata }) => metadata.name === name);
  return isMissing ? `${kind} ${namespace}/${name} does not exist` : undefined;
}
