/**
 * The known fields of each kind. For Istio and the Gateway API, they are generated from the CustomResourceDefinitions.
 * For the kinds of Kubernetes itself, only the fields that affect access are listed here.
 */
import { KNOWN_FIELDS } from '../generated/known-fields.ts';
import type { Path } from './object.ts';
import type { Shape } from './shape.ts';

const TEXTS = { list: 'text' } as const;
const LABELS = { map: 'text' } as const;
const listOf = <const Inner extends Shape>(list: Inner) => ({ list });

interface ObjectShape {
  readonly open: Readonly<Record<string, Shape>>;
}

/** Returns the shape of an object whose spec can contain these fields and others. */
function specOf<const Fields extends Readonly<Record<string, Shape>>>(fields: Fields) {
  return { open: { spec: { open: fields } } };
}

const POD_TEMPLATE: Shape = {
  open: {
    metadata: { open: { labels: LABELS, annotations: LABELS } },
    spec: {
      open: {
        serviceAccountName: 'text',
        hostNetwork: 'bool',
        containers: listOf({ open: { ports: listOf({ open: { containerPort: 'int', hostPort: 'int' } }) } }),
      },
    },
  },
};
const CONTROLLER = specOf({ template: POD_TEMPLATE });
const RBAC_RULE = {
  open: { apiGroups: TEXTS, resources: TEXTS, resourceNames: TEXTS, nonResourceURLs: TEXTS, verbs: TEXTS },
} as const;

const ROLE = { open: { rules: listOf(RBAC_RULE), aggregationRule: 'any' } } as const;

const REFERENCE = { kind: 'text', name: 'text', apiGroup: 'text' } as const;

const BINDING = {
  open: { roleRef: { open: REFERENCE }, subjects: listOf({ open: { ...REFERENCE, namespace: 'text' } }) },
} as const;

const TARGET = { open: { group: 'text', kind: 'text', name: 'text' } } as const;

const BACKEND = {
  open: { service: { open: { name: 'text', port: { open: { name: 'text', number: 'int' } } } }, resource: 'any' },
} as const;

export const KUBERNETES = {
  Service: specOf({
    type: 'text',
    selector: LABELS,
    externalIPs: TEXTS,
    loadBalancerClass: 'text',
    loadBalancerSourceRanges: TEXTS,
    ports: listOf({ open: { port: 'int', name: 'text', protocol: 'text', appProtocol: 'text', nodePort: 'int' } }),
  }),
  Pod: specOf({ serviceAccountName: 'text', containers: listOf({ open: {} }) }),
  Ingress: specOf({
    ingressClassName: 'text',
    defaultBackend: BACKEND,
    tls: listOf({ open: { hosts: TEXTS, secretName: 'text' } }),
    rules: listOf({
      open: {
        host: 'text',
        http: { open: { paths: listOf({ open: { path: 'text', pathType: 'text', backend: BACKEND } }) } },
      },
    }),
  }),
  IngressClass: specOf({ controller: 'text', parameters: { open: { kind: 'text', name: 'text' } } }),
  IngressClassParams: specOf({ scheme: 'text' }),
  SecurityPolicy: specOf({ targetRef: TARGET, targetRefs: listOf(TARGET) }),
  Deployment: CONTROLLER,
  StatefulSet: CONTROLLER,
  DaemonSet: CONTROLLER,
  ReplicaSet: CONTROLLER,
  Job: CONTROLLER,
  Role: ROLE,
  ClusterRole: ROLE,
  RoleBinding: BINDING,
  ClusterRoleBinding: BINDING,
  ConfigMap: { open: { data: LABELS } },
} as const satisfies Readonly<Record<string, ObjectShape>>;

const SHAPES: Readonly<Record<string, ObjectShape>> = {
  ...KUBERNETES,
  ...Object.fromEntries(Object.entries(KNOWN_FIELDS).map(([kind, spec]) => [kind, { open: { spec } }])),
  // This kind is experimental, and later versions of the Gateway API no longer define it.
  XListenerSet: { open: { spec: KNOWN_FIELDS.ListenerSet } },
};

/** Returns the shape of a kind, or undefined if its fields are not checked. */
export function objectShape(kind: string): ObjectShape | undefined {
  return Object.hasOwn(SHAPES, kind) ? SHAPES[kind] : undefined;
}

/** Fields in which newer Istio versions may add subfields that do not affect policies. */
const LEFT_TO_SERVER: Readonly<Record<string, readonly string[]>> = {
  VirtualService: ['spec.http', 'spec.tls', 'spec.tcp'],
  DestinationRule: ['spec.trafficPolicy', 'spec.subsets'],
  Gateway: ['spec.servers.tls'],
  ServiceEntry: ['spec.endpoints'],
  Sidecar: ['spec.ingress', 'spec.egress', 'spec.outboundTrafficPolicy', 'spec.inboundConnectionPool'],
  EnvoyFilter: ['spec.configPatches'],
};

/** Kinds for which newer versions may add any field. */
const EXTENSIBLE: ReadonlySet<string> = new Set([
  ...['WasmPlugin', 'TrafficExtension', 'KubernetesGateway', 'GatewayClass', 'ListenerSet', 'XListenerSet'],
  ...['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'ReferenceGrant', 'BackendTLSPolicy'],
]);

/** Whether an unknown field is accepted in an object from an API server. */
export function isServerDefinedField(kind: string, path: Path): boolean {
  const members = path.filter((step) => typeof step === 'string').join('.');
  return EXTENSIBLE.has(kind) || (LEFT_TO_SERVER[kind] ?? []).some((one) => members.startsWith(`${one}.`));
}
