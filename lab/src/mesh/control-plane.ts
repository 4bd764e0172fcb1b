/** The units of host `control`: etcd, the Kubernetes API and its controllers, istiod. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Tools } from '../install/tools.ts';
import { type Plan, SERVICE_RANGE, TRUST_DOMAIN } from '../plan.ts';
import type { Unit } from '../unit.ts';

export interface ControlPlane {
  readonly etcd: Unit;
  readonly apiserver: Unit;
  readonly controllers: Unit;
  readonly istiod: Unit;
}

/** Controllers without which nothing here would end or appear as in a real cluster: deletion of namespaces above all. */
const CONTROLLERS = [
  'namespace-controller',
  'garbage-collector-controller',
  'serviceaccount-controller',
  'clusterrole-aggregation-controller',
];

/** Files and units; `kubeconfig` and `admin.token` in `dir` are the administrator's. */
export function prepareControlPlane(dir: string, plan: Plan, tools: Tools): ControlPlane {
  const host = plan.hosts.control;
  if (!host) throw new Error('a plan always has a control host');
  const cwd = join(dir, 'hosts/control');
  mkdirSync(cwd, { recursive: true });
  const server = `https://${host.ip}:6443`;
  writeAdmin(dir, server);
  const meshConfig = join(cwd, 'mesh.yaml');
  writeFileSync(meshConfig, stringify(MESH_CONFIG));

  const auditPolicy = join(cwd, 'audit-policy.yaml');
  writeFileSync(auditPolicy, stringify(AUDIT_POLICY));

  const tls = (file: string): string => join(dir, 'tls', file);
  const at = { host: host.name, netns: host.netns, cwd };
  const env = { PATH: process.env.PATH ?? '', HOME: cwd };
  const kubeconfig = join(dir, 'kubeconfig');
  return {
    etcd: {
      ...at,
      name: 'etcd',
      env,
      argv: [
        tools.etcd,
        '--data-dir=etcd',
        `--listen-client-urls=http://127.0.0.1:2379,http://${host.ip}:2379`,
        '--advertise-client-urls=http://127.0.0.1:2379',
        '--listen-peer-urls=http://127.0.0.1:2380',
        '--unsafe-no-fsync', // the data need not outlive the machine
        '--log-level=warn',
      ],
      ready: { url: `http://${host.ip}:2379/health` },
    },
    apiserver: {
      ...at,
      name: 'kube-apiserver',
      env,
      argv: [
        tools.kubeApiserver,
        '--etcd-servers=http://127.0.0.1:2379',
        `--service-cluster-ip-range=${SERVICE_RANGE}`,
        `--advertise-address=${host.ip}`,
        '--secure-port=6443',
        `--tls-cert-file=${tls('kubernetes.crt')}`,
        `--tls-private-key-file=${tls('kubernetes.key')}`,
        `--cert-dir=${cwd}`,
        '--authorization-mode=RBAC',
        `--token-auth-file=${join(dir, 'tokens.csv')}`,
        '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
        `--service-account-key-file=${tls('sa.pub')}`,
        `--service-account-signing-key-file=${tls('sa.key')}`,
        '--api-audiences=https://kubernetes.default.svc.cluster.local,istio-ca',
        '--disable-admission-plugins=ServiceAccount',
        '--endpoint-reconciler-type=none',
        '--profiling=false',
        `--audit-policy-file=${auditPolicy}`,
        `--audit-log-path=${join(cwd, API_AUDIT_LOG)}`,
      ],
      ready: { url: `${server}/readyz` },
    },
    controllers: {
      ...at,
      name: 'kube-controller-manager',
      env,
      argv: [
        tools.kubeControllerManager,
        `--kubeconfig=${kubeconfig}`,
        `--controllers=${CONTROLLERS.join(',')}`,
        '--leader-elect=false',
        '--profiling=false',
        `--cert-dir=${cwd}`,
      ],
      ready: { log: 'Started' },
    },
    istiod: {
      ...at,
      name: 'istiod',
      env: {
        ...env,
        REVISION: 'default',
        CLUSTER_ID: 'Kubernetes',
        POD_NAME: 'istiod-lab',
        POD_NAMESPACE: 'istio-system',
        SERVICE_ACCOUNT: 'istiod',
        PILOT_CERT_PROVIDER: 'istiod',
        ROOT_CA_DIR: join(dir, 'ca'),
        AUTOMEMLIMIT: 'off',
        // Envoy as its project releases it lacks two filters of Istio's own build.
        PILOT_ENABLE_METADATA_EXCHANGE: 'false',
        PILOT_ENABLE_ALPN_FILTER: 'false',
        // Nothing is injected here, and the webhooks would need certificates in objects that do not exist.
        INJECTION_WEBHOOK_CONFIG_NAME: '',
        VALIDATION_WEBHOOK_CONFIG_NAME: '',
        ENABLE_LEADER_ELECTION: 'false',
        ...(plan.ambient && AMBIENT_ISTIOD),
      },
      argv: [
        tools.istiod,
        'discovery',
        `--kubeconfig=${kubeconfig}`,
        `--meshConfig=${meshConfig}`,
        '--domain=cluster.local',
        '--monitoringAddr=:15014',
        '--keepaliveMaxServerConnectionAge=30m',
      ],
      ready: { url: `http://${host.ip}:8080/ready` },
    },
  };
}

const AMBIENT_ISTIOD = { PILOT_ENABLE_AMBIENT: 'true', CA_TRUSTED_NODE_ACCOUNTS: 'istio-system/ztunnel' };

/** Audit log of the API server, in the directory of host `control`: JSON, a request a line. */
export const API_AUDIT_LOG = 'kubernetes-audit.log';
/** Users of it as a ServiceAccount; not the broker, which sends requests all the time. */
const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'None', users: ['system:serviceaccount:meshpass-system:meshpass-broker'] },
    { level: 'Metadata', userGroups: ['system:serviceaccounts'] },
    { level: 'None' },
  ],
};

const MESH_CONFIG = {
  rootNamespace: 'istio-system',
  trustDomain: TRUST_DOMAIN,
  enablePrometheusMerge: false,
  defaultConfig: { discoveryAddress: 'istiod.istio-system.svc:15012' },
  // Only a Telemetry resource that names it uses it. echo.shop accepts any request.
  extensionProviders: [
    { name: 'lab-zipkin', zipkin: { service: 'echo.shop.svc.cluster.local', port: 8080 } },
    {
      name: 'lab-principals',
      envoyFileAccessLog: { path: '/dev/stdout', logFormat: { text: '%REQ(:PATH)% from %DOWNSTREAM_PEER_URI_SAN%\n' } },
    },
    // Without labels, Istio's own format.
    { name: 'lab-json', envoyFileAccessLog: { path: '/dev/stdout', logFormat: { labels: {} } } },
  ],
};

function writeAdmin(dir: string, server: string): void {
  const token = randomBytes(24).toString('base64url');
  writeFileSync(join(dir, 'admin.token'), token, { mode: 0o600 });
  writeFileSync(join(dir, 'tokens.csv'), `${token},admin,admin,system:masters\n`, { mode: 0o600 });
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server, 'certificate-authority': join(dir, 'tls/ca.crt') } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'admin' } }],
    'current-context': 'lab',
  };
  writeFileSync(join(dir, 'kubeconfig'), stringify(config), { mode: 0o600 });
}
