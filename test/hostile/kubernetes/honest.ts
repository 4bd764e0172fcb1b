/** Objects of the broker for a grant `hostile` to orders.shop: every attack differs from them in one thing. */
import type { KubeObject } from '@meshpass/lab';
import { BROKER_URL } from '@meshpass/lab/broker/rights';

export const OURS = { 'app.kubernetes.io/managed-by': 'meshpass' };
const labels = { ...OURS, 'meshpass.dev/grant': 'hostile' };
export const HOST = 'orders.shop.svc.cluster.local';
/** Server names of connections to port 8080, and to the host. */
export const OF_PORT = 'outbound_.8080_.*';
export const OF_HOST = `*_.${HOST}`;
export const onThisPort = [
  { key: 'connection.sni', values: [OF_PORT] },
  { key: 'connection.sni', values: [OF_HOST] },
];
/** Labels by which the Service billing/invoices selects its workloads. */
export const INVOICES_LABELS = { app: 'invoices', tier: 'api' };
const source = { namespaces: ['meshpass-hostile'] };

export const NAMESPACE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'meshpass-hostile', labels },
};

export const account = (name: string, namespace: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  automountServiceAccountToken: false,
  metadata: { name, namespace, labels: OURS },
});

export const GUARD: KubeObject = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'meshpass-guard-hostile', namespace: 'istio-system', labels },
  spec: {
    action: 'DENY',
    rules: [{ from: [{ source }], when: [{ key: 'connection.sni', values: [OF_PORT], notValues: [OF_HOST] }] }],
  },
};

export const ALLOW: KubeObject = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'meshpass-hostile.orders.8080.allow', namespace: 'shop', labels },
  spec: {
    selector: { matchLabels: { app: 'orders' } },
    action: 'ALLOW',
    rules: [{ from: [{ source }], when: onThisPort }],
  },
};

export const DENY: KubeObject = {
  ...ALLOW,
  metadata: { name: 'meshpass-hostile.orders.8080', namespace: 'shop', labels },
  spec: { selector: { matchLabels: { app: 'orders' } }, action: 'DENY', rules: [{ from: [{ source }] }] },
};

export const RECOGNISE: KubeObject = {
  apiVersion: 'security.istio.io/v1',
  kind: 'RequestAuthentication',
  metadata: { name: 'meshpass', namespace: 'istio-system', labels: OURS },
  spec: {
    jwtRules: [
      {
        issuer: BROKER_URL,
        audiences: ['meshpass'],
        jwks: '{"keys":[]}',
        fromHeaders: [{ name: 'x-meshpass-token' }],
        forwardOriginalToken: false,
        outputClaimToHeaders: [{ header: 'x-meshpass-sub', claim: 'sub' }],
      },
    ],
  },
};

export const GATEWAY: KubeObject = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'Gateway',
  metadata: { name: 'meshpass', namespace: 'meshpass-system', labels: OURS },
  spec: {
    selector: { istio: 'meshpass-gateway' },
    servers: [
      {
        port: { number: 15443, name: 'tls-meshpass', protocol: 'TLS' },
        tls: { mode: 'AUTO_PASSTHROUGH' },
        hosts: [HOST],
      },
    ],
  },
};

export const SIDECAR: KubeObject = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'Sidecar',
  metadata: { name: 'meshpass', namespace: 'meshpass-hostile', labels },
  spec: { egress: [{ hosts: [`*/${HOST}`] }], outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } },
};

const RBAC = 'rbac.authorization.k8s.io';
export const group = (name: string) => ({ apiGroup: RBAC, kind: 'Group', name });
export const roleBinding = (namespace: string, role = 'view'): KubeObject => ({
  apiVersion: `${RBAC}/v1`,
  kind: 'RoleBinding',
  metadata: { name: `meshpass-hostile.${role}`, namespace, labels },
  roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: role },
  subjects: [group('system:serviceaccounts:meshpass-hostile')],
});
export const BINDING = roleBinding('shop');
/** RoleBinding of the same role in the same place, for the ServiceAccounts of a namespace. */
export const boundTo = (namespace: string): KubeObject => ({
  ...BINDING,
  metadata: { ...BINDING.metadata, name: `${namespace}.view` },
  subjects: [group(`system:serviceaccounts:${namespace}`)],
});

const ROOT = Buffer.alloc(32).toString('base64');
/** The data of a checkpoint as the broker stores it; Kubernetes does not verify the signature. */
export const checkpointData = (size: string, ofRows = size) => ({
  epoch: '1',
  size,
  time: '2026-01-01T00:00:00.000Z',
  note: `broker.meshpass.test:8443/audit\n${ofRows}\n${ROOT}\n\nsignature\n`,
});
/** ConfigMap like the chart's: empty. */
export const CHECKPOINT: KubeObject = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'meshpass-audit-checkpoint', namespace: 'meshpass-system' },
};
/** Secret like the chart hook's, with break-glass. */
export const SECRET: KubeObject = {
  apiVersion: 'v1',
  kind: 'Secret',
  type: 'Opaque',
  metadata: { name: 'meshpass-keys', namespace: 'meshpass-system' },
};
