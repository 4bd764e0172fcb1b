import {
  authorizationPolicies,
  isCaptured,
  type Path,
  type PodWorkload,
  proxyOfPod,
  serviceName,
} from '@meshpass/istio';
import { describeObject } from '../../exposure/describe.ts';
import { enforcedIn } from '../../exposure/enforced.ts';
import { isGatewayPod } from '../../exposure/entries/gateway-service.ts';
import type { LintContext } from '../context.ts';
import type { Rule } from '../rule.ts';

const NO_INBOUND = 'traffic.sidecar.istio.io/excludeInboundPorts';
const INBOUND = 'traffic.sidecar.istio.io/includeInboundPorts';
const INJECT = 'sidecar.istio.io/inject';

/** The sidecar of a guarded workload does not capture some of its ports. */
export const sidecarBypass: Rule = {
  code: 'MP503',
  name: 'sidecar-bypass',
  severity: 'error',
  title: 'A workload under policy accepts calls that bypass its sidecar',
  fix: 'Remove the annotation; exclude only ports that serve probes.',
  *check(context) {
    for (const workload of context.mesh.pods) {
      const guarded = whyGuarded(context, workload);
      if (!guarded) continue;
      const on = workload.object;
      const why = whyUninjected(context, workload);
      if (why) {
        const message = `${describeObject(on)} has no sidecar: ${why}. No policy applies to it, and ${guarded}.`;
        yield { on, path: placeOf(workload), message };
      }
      const around = [...enforcedIn(context.mesh).workloads.portsOf(workload).values()]
        .filter(({ port, reachedAs }) => reachedAs.length > 0 && !isCaptured(workload, port))
        .map(({ port }) => port);
      if (around.length === 0) continue;
      const message = `port ${around.join(', ')} bypasses the sidecar, so no policy applies, and ${guarded}.`;
      yield { on, path: exclusionOf(workload, around), message };
    }
  },
};

function whyGuarded({ mesh, granted }: LintContext, workload: PodWorkload): string | undefined {
  const services = mesh.servicesBefore(workload);
  const host = [...granted.keys()].find((one) => {
    const name = serviceName(one, mesh.config.clusterDomain);
    return services.some(({ metadata }) => metadata.name === name?.name && metadata.namespace === name?.namespace);
  });
  if (host) return `${host} is granted`;
  const [policy] = authorizationPolicies(mesh, workload);
  return policy && `AuthorizationPolicy ${policy.metadata.name} selects it`;
}

/** Explains why a workload has no sidecar. Gateways are proxies themselves, and in ambient mode ztunnel guards a Pod. */
function whyUninjected({ mesh }: LintContext, workload: PodWorkload): string | undefined {
  if (isGatewayPod(workload)) return undefined;
  const found = proxyOfPod(mesh, workload);
  return found.proxy === 'none' || found.proxy === 'changed sidecar' ? found.reason : undefined;
}

/** Path of the annotation that excludes ports, or of the Pod if there is none. */
function exclusionOf({ annotations, metadataPath, podPath }: PodWorkload, ports: readonly number[]): Path {
  const listed = words(annotations[NO_INBOUND]).some((port) => ports.includes(Number(port)));
  if (!listed && annotations[INBOUND] === undefined) return podPath;
  return [...metadataPath, 'annotations', listed ? NO_INBOUND : INBOUND];
}

/** Path of the setting that disables the sidecar, or of the metadata if there is none. */
function placeOf({ metadataPath, podPath, labels, annotations, pod }: PodWorkload): Path {
  if (pod.hostNetwork === true) return [...podPath, 'hostNetwork'];
  if (labels[INJECT] === 'false') return [...metadataPath, 'labels', INJECT];
  return labels[INJECT] === undefined && annotations[INJECT] === 'false'
    ? [...metadataPath, 'annotations', INJECT]
    : metadataPath;
}

function words(annotation: string | undefined): readonly string[] {
  return (annotation ?? '').split(',').map((word) => word.trim());
}
