import {
  authorizationPolicies,
  isCaptured,
  namespaceInjection,
  type Path,
  type PodWorkload,
  serviceName,
  whyNoSidecar,
} from '@meshpass/istio';
import { describeObject } from '../describe.ts';
import { enforcedIn } from '../enforced.ts';
import type { Report, Rule } from '../rule.ts';

const NO_INBOUND = 'traffic.sidecar.istio.io/excludeInboundPorts';
const INBOUND = 'traffic.sidecar.istio.io/includeInboundPorts';
const INJECT = 'sidecar.istio.io/inject';
const MODE = 'istio.io/dataplane-mode';

/** Ports of a guarded workload that its sidecar does not see. */
export const sidecarBypass: Rule = {
  code: 'MP503',
  name: 'sidecar-bypass',
  severity: 'error',
  title: 'A workload under policy accepts calls that bypass its sidecar',
  fix: 'Remove the annotation; exclude only ports that serve probes.',
  *check(context) {
    for (const workload of context.mesh.pods) {
      const services = context.mesh.servicesBefore(workload);
      const granted = [...context.granted.keys()].find((host) => {
        const name = serviceName(host, context.mesh.config.clusterDomain);
        return services.some(({ metadata }) => metadata.name === name?.name && metadata.namespace === name?.namespace);
      });
      const policies = authorizationPolicies(context.mesh, workload);
      if (!granted && policies.length === 0) continue;
      const guarded = granted
        ? `${granted} is granted`
        : `AuthorizationPolicy ${policies[0]!.metadata.name} selects it`;
      const at = (name: string): Path => [...workload.metadataPath, 'annotations', name];
      const say = (path: Path, message: string): Report => ({
        on: workload.object,
        path,
        message: `${message}, and ${guarded}.`,
      });
      const { namespace, labels, annotations, object, kind } = workload;
      const ofNamespace = context.mesh.namespaceLabels(namespace);
      // Gateways are proxies themselves, and in ambient mode ztunnel stands before a Pod.
      const mode = labels[MODE] ?? ofNamespace?.[MODE];
      const why =
        mode === 'ambient' || kind !== 'sidecar'
          ? undefined
          : whyNoSidecar(workload, namespaceInjection(namespace, ofNamespace));
      if (why) yield say(placeOf(workload), `${describeObject(object)} has no sidecar: ${why}. No policy holds for it`);
      const around = [...enforcedIn(context.mesh).workloads.portsOf(workload).values()]
        .filter(({ port, reachedAs }) => reachedAs.length > 0 && !isCaptured(workload, port))
        .map(({ port }) => port);
      if (around.length > 0) {
        const listed = words(annotations[NO_INBOUND]).some((port) => around.includes(Number(port)));
        const path = listed ? at(NO_INBOUND) : annotations[INBOUND] === undefined ? workload.podPath : at(INBOUND);
        yield say(path, `port ${around.join(', ')} is served around the sidecar: no policy holds for it`);
      }
    }
  },
};

/** What says so, where that is written. */
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
