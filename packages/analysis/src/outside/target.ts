/** Targets of routes, each at the destination that its host stands for. */
import { fullHost, type MeshView, type Path } from '@meshpass/istio';
import { text } from '@meshpass/istio/members';
import { ALWAYS, all, type Condition } from '../diff/formula/condition.ts';
import { resolveDestination } from '../exposure/destination.ts';
import { readersOf, whyReadersUnknown } from '../exposure/gateway-pods.ts';
import { anonymousCalls, type Way } from './anonymous.ts';
import { opaque } from './match-condition.ts';
import type { Target } from './router.ts';

/**
 * Returns the target of a route: an alias (a Service of type ExternalName, or a ServiceEntry with one endpoint) is
 * replaced by what it stands for. Empty if the entry point does not know the host.
 * @param path path of the destination within the object of the route
 */
export function targetsAt(mesh: MeshView, way: Way, path: Path): readonly Target[] {
  return resolveDestination(mesh, way.exposure).map((exposure) => {
    let condition: Condition | undefined;
    return {
      destination: { ...exposure.destination, host: outsideCluster(mesh, exposure) ?? exposure.destination.host },
      // Deciding a single call does not need it.
      get condition() {
        condition ??= all([isDefined(mesh, way, exposure), anonymousCalls(mesh, { ...way, exposure })]);
        return condition;
      },
      path,
      rewrite: way.rewrite,
    };
  });
}

/** Whether all Pods of the entry point get the ServiceEntry that defines the destination. */
function isDefined(mesh: MeshView, { entry }: Way, { external }: Way['exposure']): Condition {
  return external === undefined || readersOf(mesh, entry, external) === 'all'
    ? ALWAYS
    : opaque(whyReadersUnknown(entry, external));
}

/** Returns the host outside the cluster that a Service stands for. */
function outsideCluster(mesh: MeshView, { service }: Way['exposure']): string | undefined {
  if (service?.spec.type !== 'ExternalName') return undefined;
  const host = text(service.spec.externalName);
  return host === undefined ? undefined : fullHost(host, service.metadata.namespace, mesh.config.clusterDomain);
}
