/** Parts of the meshes that plans are proven on. */
import type { KubeObject } from '@meshpass/lab/kubernetes';
import type { Call, File } from './files.ts';
import type { InsideCall } from './inside.ts';

/** Access file planned in a mesh. By default the plan has no finding, and every granted call works. */
export interface Case {
  readonly file: File;
  /** Findings as `kind: message: because`. */
  readonly findings?: readonly RegExp[];
  /** Granted calls that the plan says do not work. */
  readonly broken?: readonly Call[];
  /** Service ports about which the plan says that it does not know. */
  readonly unknown?: readonly string[];
}

export interface Mesh {
  readonly name: string;
  /** @param ip address of a host of the lab */
  readonly objects: (ip: (host: string) => string) => readonly KubeObject[];
  /** Labels of the lab's namespaces. */
  readonly labels?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Settings of MeshConfig. */
  readonly config?: object;
  /** Answers to calls between workloads, if they differ from those in a mesh without policies. */
  readonly inside?: Partial<Record<InsideCall, string>>;
  readonly cases: readonly Case[];
}

const object =
  (apiVersion: string, kind: string) =>
  (namespace: string, name: string, spec: object, metadata: object = {}): KubeObject => ({
    apiVersion,
    kind,
    metadata: { name: `habit-${name}`, namespace, ...metadata },
    spec,
  });

const SECURITY = 'security.istio.io/v1';
const NETWORKING = 'networking.istio.io/v1';
const GATEWAY_API = 'gateway.networking.k8s.io/v1';
export const policy = object(SECURITY, 'AuthorizationPolicy');
export const tokensOf = object(SECURITY, 'RequestAuthentication');
export const peers = object(SECURITY, 'PeerAuthentication');
export const destinationRule = object(NETWORKING, 'DestinationRule');
export const virtualService = object(NETWORKING, 'VirtualService');
export const serviceEntry = object(NETWORKING, 'ServiceEntry');
export const sidecar = object(NETWORKING, 'Sidecar');
export const kubernetesGateway = object(GATEWAY_API, 'Gateway');
export const httpRoute = object(GATEWAY_API, 'HTTPRoute');

export const appOf = (app: string) => ({ selector: { matchLabels: { app } } });
export const namespaces = (...names: string[]) => ({ from: [{ source: { namespaces: names } }] });

export interface ServiceOptions {
  readonly namespace?: string;
  /** Host of the lab, with label `app` of the same name. */
  readonly app: string;
  readonly ports: readonly { name: string; port: number; targetPort: number; appProtocol?: string }[];
  readonly metadata?: object;
  readonly headless?: boolean;
}

/** Service with its endpoint, which no controller of the lab would write. */
export function service(ip: (host: string) => string, name: string, options: ServiceOptions): readonly KubeObject[] {
  const { namespace = 'shop', app, ports, metadata = {}, headless = false } = options;
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, ...metadata },
      spec: { selector: { app }, ports, ...(headless && { clusterIP: 'None' }) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-habit`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: ports.map((one) => ({ name: one.name, port: one.targetPort, protocol: 'TCP' })),
      endpoints: [
        {
          addresses: [ip(app)],
          conditions: { ready: true },
          nodeName: 'lab',
          targetRef: { kind: 'Pod', name: app, namespace },
        },
      ],
    } as KubeObject,
  ];
}

/** Pod without a proxy, on a host that serves nothing: only objects, no program. */
export function bare(namespace: string, app: string, address: string, metadata: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: app, namespace, labels: { app }, ...metadata },
    // Without a node, no kubelet has to confirm its deletion.
    spec: { containers: [{ name: app, image: 'lab' }] },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}
