import { type MeshView, trustedProxiesOf } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import { type IstioProxy, podsOfGateway } from './gateway-pods.ts';

/** Lists the numbers of proxies that the Pods of a gateway trust in front of them. */
export function trustedHops(mesh: MeshView, proxy: IstioProxy): readonly number[] {
  const pods = podsOfGateway(mesh, proxy);
  const hops = pods.length > 0 ? pods.map((pod) => trustedProxiesOf(mesh, pod)) : [trustedProxiesOf(mesh, {})];
  return distinct(hops, String);
}
