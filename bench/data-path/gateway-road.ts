/**
 * The second peer's road: the stock sidecar reaches the service through the AUTO_PASSTHROUGH gateway, as Istio's split-horizon
 * endpoints make it between two networks (istio.io, "Install Multi-Primary on different networks"). Here a ServiceEntry names
 * the gateway as the endpoint: giving the lab's proxies networks would send all of them through the gateway.
 */
import type { KubeObject, Lab } from '@meshpass/lab';

const HOST = 'orders.remote';
const PORT = 8080;
const ADDRESS = '10.96.9.10';
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/orders';
const SNI = `outbound_.${PORT}_._.orders.shop.svc.cluster.local`;

/** Host and port by which programs of host `stock` take this road. */
export const GATEWAY_ROAD = [HOST, String(PORT)] as const;

/** Applies it; the Gateway itself is the one that Meshpass's access file compiles to. */
export async function layGatewayRoad(lab: Lab): Promise<void> {
  const [address, port] = lab.gatewayAddress.split(':');
  await lab.kubernetes.apply(serviceEntry(address!, Number(port)), destinationRule);
  const line = `${ADDRESS} ${HOST}`;
  await lab.exec('stock', ['sh', '-c', `grep -qxF '${line}' /etc/hosts || echo '${line}' >>/etc/hosts`]);
}

function serviceEntry(address: string, port: number): KubeObject {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: 'orders-remote', namespace: 'dev' },
    spec: {
      hosts: [HOST],
      addresses: [ADDRESS],
      ports: [{ number: PORT, name: 'http', protocol: 'HTTP' }],
      location: 'MESH_INTERNAL',
      resolution: 'STATIC',
      endpoints: [{ address, ports: { http: port } }],
      exportTo: ['.'],
    },
  };
}

const destinationRule: KubeObject = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name: 'orders-remote', namespace: 'dev' },
  spec: {
    host: HOST,
    exportTo: ['.'],
    trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL', sni: SNI, subjectAltNames: [IDENTITY] } },
  },
};
