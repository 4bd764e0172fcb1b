/** etcd, the Kubernetes API, its controllers and its scheduler: processes of the node, as a self-managed cluster has them. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ClusterTools } from '../../install/tools.ts';
import type { Unit } from '../../unit.ts';
import { CLUSTER_DOMAIN, type ClusterPlan, NODE, POD_RANGE, SERVICE_RANGE } from '../plan.ts';
import { enterNode, environment, nodePath } from './namespaces.ts';

/** Users with a token of the Kubernetes API, and their group. */
const USERS = {
  admin: { user: 'admin', group: 'system:masters' },
  kubelet: { user: `system:node:${NODE}`, group: 'system:nodes' },
} as const;

/** Writes the tokens and their kubeconfigs: `kubeconfig` and `admin.token` are the administrator's. */
export function writeKubeconfigs(dir: string, plan: ClusterPlan): void {
  mkdirSync(nodePath(dir), { recursive: true });
  const tokens = Object.entries(USERS).map(([name, { user, group }]) => {
    const token = randomBytes(24).toString('base64url');
    if (name === 'admin') writeFileSync(join(dir, 'admin.token'), token, { mode: 0o600 });
    writeFileSync(kubeconfigOf(dir, name as keyof typeof USERS), kubeconfig(dir, plan, user, token), { mode: 0o600 });
    return `${token},${user},${user},${group}\n`;
  });
  writeFileSync(nodePath(dir, 'tokens.csv'), tokens.join(''), { mode: 0o600 });
}

export function kubeconfigOf(dir: string, user: keyof typeof USERS): string {
  return user === 'admin' ? join(dir, 'kubeconfig') : nodePath(dir, `${user}.kubeconfig`);
}

function kubeconfig(dir: string, plan: ClusterPlan, user: string, token: string): string {
  const server = `https://${plan.hosts.node.ip}:6443`;
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server, 'certificate-authority': join(dir, 'tls/ca.crt') } }],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user } }],
    'current-context': 'lab',
  });
}

/** @param plan of the cluster. The node runs. */
export function controlPlaneUnits(dir: string, plan: ClusterPlan, { etcd, ...tools }: ClusterTools) {
  const cwd = nodePath(dir);
  const { ip, netns } = plan.hosts.node;
  const at = { host: NODE, netns, enter: enterNode(dir, cwd), env: environment(), cwd };
  const tls = (file: string): string => join(dir, 'tls', file);
  const admin = `--kubeconfig=${kubeconfigOf(dir, 'admin')}`;
  const unit = (name: string, argv: readonly string[], ready: Unit['ready']): Unit => ({ ...at, name, argv, ready });
  return {
    etcd: unit(
      'etcd',
      [
        ...[etcd, '--data-dir=etcd', `--listen-client-urls=http://127.0.0.1:2379,http://${ip}:2379`],
        ...['--advertise-client-urls=http://127.0.0.1:2379', '--listen-peer-urls=http://127.0.0.1:2380'],
        '--unsafe-no-fsync', // the data need not outlive the machine
        '--log-level=warn',
      ],
      { url: `http://${ip}:2379/health` },
    ),
    apiserver: unit(
      'kube-apiserver',
      [
        tools.kubeApiserver,
        '--etcd-servers=http://127.0.0.1:2379',
        `--service-cluster-ip-range=${SERVICE_RANGE}`,
        `--advertise-address=${ip}`,
        ...['--secure-port=6443', '--allow-privileged', '--profiling=false', `--cert-dir=${cwd}`],
        ...[`--tls-cert-file=${tls('kubernetes.crt')}`, `--tls-private-key-file=${tls('kubernetes.key')}`],
        ...[`--client-ca-file=${tls('ca.crt')}`, `--token-auth-file=${nodePath(dir, 'tokens.csv')}`],
        ...['--authorization-mode=Node,RBAC', '--enable-admission-plugins=NodeRestriction'],
        `--service-account-issuer=https://kubernetes.default.svc.${CLUSTER_DOMAIN}`,
        `--service-account-key-file=${tls('sa.pub')}`,
        `--service-account-signing-key-file=${tls('sa.key')}`,
        `--api-audiences=https://kubernetes.default.svc.${CLUSTER_DOMAIN},istio-ca`,
        ...[`--kubelet-client-certificate=${tls('kubelet-client.crt')}`],
        ...[`--kubelet-client-key=${tls('kubelet-client.key')}`, `--kubelet-certificate-authority=${tls('ca.crt')}`],
        '--kubelet-preferred-address-types=InternalIP',
      ],
      { url: `https://${ip}:6443/readyz` },
    ),
    controllers: unit(
      'kube-controller-manager',
      [
        ...[tools.kubeControllerManager, admin, '--leader-elect=false', '--profiling=false', `--cert-dir=${cwd}`],
        ...['--use-service-account-credentials', `--root-ca-file=${tls('ca.crt')}`],
        ...[`--service-account-private-key-file=${tls('sa.key')}`, `--cluster-cidr=${POD_RANGE}`],
        ...['--bind-address=127.0.0.1', '--horizontal-pod-autoscaler-sync-period=5s'],
      ],
      { log: 'Started' },
    ),
    scheduler: unit(
      'kube-scheduler',
      [
        tools.cluster.kubeScheduler,
        admin,
        '--leader-elect=false',
        '--profiling=false',
        `--cert-dir=${cwd}`,
        '--bind-address=127.0.0.1',
      ],
      { log: 'Serving securely' },
    ),
  };
}
