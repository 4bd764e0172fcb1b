import type { Path } from '../../istio/object.ts';
import { serviceName } from '../host.ts';
import type { Report, Rule } from '../model.ts';
import { items } from '../read.ts';
import { sayObject } from '../say.ts';
import { targetPortOf } from '../workload.ts';

const NO_INBOUND = 'traffic.sidecar.istio.io/excludeInboundPorts';
const INBOUND = 'traffic.sidecar.istio.io/includeInboundPorts';
const INJECT = 'sidecar.istio.io/inject';

/** Ports of a guarded workload that its sidecar does not see. */
export const aroundSidecar: Rule = {
  code: 'MP503',
  name: 'around-sidecar',
  severity: 'error',
  title: 'A workload under policy takes calls that its sidecar does not see',
  fix: 'Remove the annotation; exclude only ports that serve nothing but probes.',
  *check(view) {
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
      const off =
        workload.labels[INJECT] === 'false'
          ? 'labels'
          : workload.annotations[INJECT] === 'false'
            ? 'annotations'
            : undefined;
      if (off)
        yield say(
          [...workload.metadataPath, off, INJECT],
          `${sayObject(workload.object)} has no sidecar: no policy holds for it`,
        );
      if (workload.pod.hostNetwork === true) {
        yield say(
          [...workload.podPath, 'hostNetwork'],
          `${sayObject(workload.object)} is on the network of its node, where no sidecar is put before it`,
        );
      }
      const served = services.flatMap((service) =>
        items(service.spec.ports).map((port) => targetPortOf(workload, port.targetPort ?? port.port)),
      );
      const excluded = portsOf(workload.annotations[NO_INBOUND]).filter((port) => served.includes(port));
      if (excluded.length > 0)
        yield say(at(NO_INBOUND), `port ${excluded.join(', ')} is served around the sidecar: no policy holds for it`);
      const included = workload.annotations[INBOUND];
      if (included !== undefined && included !== '*') {
        const missing = served.filter((port) => port !== undefined && !portsOf(included).includes(port));
        if (missing.length > 0)
          yield say(at(INBOUND), `port ${missing.join(', ')} is served around the sidecar: no policy holds for it`);
      }
    }
  },
};

function portsOf(annotation: string | undefined): readonly number[] {
  return (annotation ?? '')
    .split(',')
    .map(Number)
    .filter((port) => Number.isInteger(port) && port > 0);
}
