/** Finds the targets of routes, resolving aliases to the destinations that they refer to. */
import { fullHost, type HttpMatch, type MeshView } from '@meshpass/istio';
import { text } from '@meshpass/istio/members';
import { ALWAYS, all, type Condition } from '../diff/formula/condition.ts';
import { resolveDestination } from '../exposure/destination.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { countReaders, whyReadersUnknown } from '../exposure/gateway-pods.ts';
import { opaque } from '../routes/match-condition.ts';
import { anonymousCalls } from './anonymous.ts';
import type { Target } from './router.ts';

/**
 * Returns the targets of an exposure. An alias, which is either a Service of type ExternalName or a ServiceEntry with
 * one endpoint, is replaced by the destination that it refers to. The result is empty if the entry point does not know
 * the host.
 * @param match the match that selected the calls, which determines how the route rewrites them
 */
export function targetsAt(mesh: MeshView, given: Exposure, entry: EntryPoint, match?: HttpMatch): readonly Target[] {
  const rewrite = given.rewrite(match);
  return resolveDestination(mesh, given).map((exposure) => {
    let condition: Condition | undefined;
    return {
      destination: { ...exposure.destination, host: outsideCluster(mesh, exposure) ?? exposure.destination.host },
      // The condition is computed lazily, because it is not needed to evaluate a single call.
      get condition() {
        condition ??= all([isDefined(mesh, entry, exposure), anonymousCalls(mesh, { exposure, entry, rewrite })]);
        return condition;
      },
      path: given.destinationPath,
      rewrite,
    };
  });
}

/** Returns an opaque condition, unless all Pods of the entry point receive the destination's ServiceEntry. */
function isDefined(mesh: MeshView, entry: EntryPoint, { external }: Exposure): Condition {
  return external === undefined || countReaders(mesh, entry, external) === 'all'
    ? ALWAYS
    : opaque(whyReadersUnknown(entry, external));
}

/** Returns the external host that a Service of type ExternalName refers to. */
function outsideCluster(mesh: MeshView, { service }: Exposure): string | undefined {
  if (service?.spec.type !== 'ExternalName') return undefined;
  const host = text(service.spec.externalName);
  return host === undefined ? undefined : fullHost(host, service.metadata.namespace, mesh.config.clusterDomain);
}
