/** Ports at which clients reach servers of Istio's Gateways. */
import { isTcp, type MeshView, type Service, selects, targetPortOf } from '@meshpass/istio';
import { distinct, items, labels } from '@meshpass/istio/members';
import { type IstioProxy, podsOfGateway } from '../gateway-pods.ts';

/**
 * Lists the Service ports that lead to a server. Istio binds a server to the target port of the Service port with its
 * number, or to the number itself if no Service has it. Without a Service among the files, the number is the port.
 * Source: `resolvePorts` in pilot/pkg/model/gateway.go of Istio.
 */
export function clientPorts(mesh: MeshView, pods: IstioProxy, number: number): readonly number[] {
  const ports = servicePorts(mesh, pods);
  const own = ports.filter(({ port }) => port === number);
  const bound = own.length > 0 ? own.map(({ target }) => target) : [number];
  const found = ports.filter(({ port, target }) => port === number || (target !== undefined && bound.includes(target)));
  return found.length > 0
    ? distinct(
        found.map(({ port }) => port),
        String,
      )
    : [number];
}

interface ServicePort {
  readonly port: number;
  /** Undefined if it is the name of a port that is not known. */
  readonly target: number | undefined;
}

function servicePorts(mesh: MeshView, proxy: IstioProxy): readonly ServicePort[] {
  const { namespace = mesh.config.rootNamespace, selector = {} } = proxy;
  if (Object.keys(selector).length === 0) return [];
  const portsOf = (services: readonly Service[], names: ReadonlyMap<string, number>) =>
    services
      .flatMap(({ spec }) => items(spec.ports).filter(isTcp))
      .map((port) => ({ port: port.port, target: targetPortOf(names, port) }));
  const pods = podsOfGateway(mesh, proxy);
  if (pods.length > 0) return pods.flatMap((pod) => portsOf(mesh.servicesBefore(pod), pod.portNames));
  const services = mesh.within('Service', namespace).filter(({ spec }) => {
    const given = labels(spec.selector);
    return Object.keys(given).length > 0 && (selects(given, selector) || selects(selector, given));
  });
  return portsOf(services, new Map());
}
