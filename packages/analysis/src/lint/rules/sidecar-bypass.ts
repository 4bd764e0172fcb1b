import { isCaptured, namespaceInjection, type Path, proxyKinds, serviceName, whyNoSidecar } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { describeObject } from '../describe.ts';
import type { Report, Rule } from '../rule.ts';
import { targetPortOf, type Workload } from '../workload.ts';

const NO_INBOUND = 'traffic.sidecar.istio.io/excludeInboundPorts';
const INBOUND = 'traffic.sidecar.istio.io/includeInboundPorts';
const INJECT = 'sidecar.istio.io/inject';
const MODE = 'istio.io/dataplane-mode';

/** Ports of a guarded workload that its sidecar does not see. */
export const sidecarBypass: Rule = {
  code: 'MP503',
  name: 'sidecar-bypass',
  severity: 'error',
  title: 'A workload under policy takes calls that its sidecar does not see',
  fix: 'Remove the annotation; exclude only ports that serve nothing but probes.',
  *check(view) {
    const kindOf = proxyKinds(view.of('Gateway'));
    for (const workload of view.workloads) {
      const services = view.servicesBehind(workload);
      const granted = [...view.granted.keys()].find((host) => {
        const name = serviceName(host, view.clusterDomain);
        return services.some(({ metadata }) => metadata.name === name?.name && metadata.namespace === name?.namespace);
      });
      const policies = view.policiesOn(workload);
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
      const { namespace, labels, annotations, object } = workload;
      const running = object.kind === 'Pod' && object.metadata.uid !== undefined;
      const pod = { namespace, labels, annotations, spec: workload.pod, running };
      const ofNamespace = view.knowsNamespace(namespace) ? view.namespaceLabels(namespace) : undefined;
      // Gateways are proxies themselves, and in ambient mode ztunnel stands before a Pod.
      const mode = labels[MODE] ?? ofNamespace?.[MODE];
      const why =
        mode === 'ambient' || kindOf(labels) !== 'sidecar'
          ? undefined
          : whyNoSidecar(pod, namespaceInjection(namespace, ofNamespace));
      if (why) yield say(placeOf(workload), `${describeObject(object)} has no sidecar: ${why}. No policy holds for it`);
      const served = services.flatMap((service) =>
        items(service.spec.ports).map((port) => targetPortOf(workload, port.targetPort ?? port.port)),
      );
      const around = served.filter((port) => port !== undefined && !isCaptured(pod, port));
      if (around.length > 0) {
        const listed = words(annotations[NO_INBOUND]).some((port) => around.includes(Number(port)));
        const path = listed ? at(NO_INBOUND) : annotations[INBOUND] === undefined ? workload.podPath : at(INBOUND);
        yield say(path, `port ${around.join(', ')} is served around the sidecar: no policy holds for it`);
      }
    }
  },
};

/** What says so, where that is written. */
function placeOf({ metadataPath, podPath, labels, annotations, pod }: Workload): Path {
  if (pod.hostNetwork === true) return [...podPath, 'hostNetwork'];
  if (labels[INJECT] === 'false') return [...metadataPath, 'labels', INJECT];
  return labels[INJECT] === undefined && annotations[INJECT] === 'false'
    ? [...metadataPath, 'annotations', INJECT]
    : metadataPath;
}

function words(annotation: string | undefined): readonly string[] {
  return (annotation ?? '').split(',').map((word) => word.trim());
}
