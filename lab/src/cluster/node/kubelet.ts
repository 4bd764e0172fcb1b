/** The kubelet, kube-proxy, and the engine of NetworkPolicy. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ClusterTools } from '../../install/tools.ts';
import type { Unit } from '../../unit.ts';
import { CLUSTER_DNS, CLUSTER_DOMAIN, type ClusterPlan, NODE, POD_RANGE, SERVICE_RANGE } from '../plan.ts';
import { kubeconfigOf } from './control-plane.ts';
import { enterNode, environment, nodePath } from './namespaces.ts';
import { containerdSocket } from './runtime.ts';

/** @param plan of the cluster. The node and containerd run. */
export function kubeletUnits(dir: string, plan: ClusterPlan, { cluster }: ClusterTools) {
  const cwd = nodePath(dir);
  const { ip, netns } = plan.hosts.node;
  const at = { host: NODE, netns, enter: enterNode(dir, cwd), env: environment(), cwd };
  const unit = (name: string, argv: readonly string[], ready: Unit['ready']): Unit => ({ ...at, name, argv, ready });
  mkdirSync(cwd, { recursive: true });
  const config = nodePath(dir, 'kubelet.yaml');
  writeFileSync(config, stringify(kubeletConfiguration(dir, plan)));
  return {
    kubelet: unit(
      'kubelet',
      [
        ...[cluster.kubelet, `--kubeconfig=${kubeconfigOf(dir, 'kubelet')}`, `--config=${config}`],
        ...[`--root-dir=${nodePath(dir, 'kubelet')}`, `--hostname-override=${NODE}`, `--node-ip=${ip}`],
      ],
      { url: `http://${ip}:10248/healthz` },
    ),
    proxy: unit(
      'kube-proxy',
      [
        ...[cluster.kubeProxy, `--kubeconfig=${kubeconfigOf(dir, 'admin')}`, '--proxy-mode=iptables'],
        ...[`--cluster-cidr=${POD_RANGE}`, `--hostname-override=${NODE}`, `--healthz-bind-address=${ip}:10256`],
        // The table of connections is the machine's.
        ...['--conntrack-max-per-core=0', '--iptables-min-sync-period=100ms'],
      ],
      { url: `http://${ip}:10256/livez` },
    ),
    policies: unit(
      'kube-router',
      [
        ...[cluster.kubeRouter, `--kubeconfig=${kubeconfigOf(dir, 'admin')}`, `--hostname-override=${NODE}`],
        ...['--run-firewall=true', '--run-router=false', '--run-service-proxy=false', '--run-loadbalancer=false'],
        ...[`--service-cluster-ip-range=${SERVICE_RANGE}`, '--health-port=20244', '--v=1'],
      ],
      { log: 'Starting network policy controller full sync goroutine' },
    ),
  };
}

function kubeletConfiguration(dir: string, plan: ClusterPlan): object {
  const { ip } = plan.hosts.node;
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${containerdSocket(dir)}`,
    clusterDNS: [CLUSTER_DNS],
    clusterDomain: CLUSTER_DOMAIN,
    address: ip,
    healthzBindAddress: ip,
    authentication: {
      anonymous: { enabled: false },
      x509: { clientCAFile: join(dir, 'tls/ca.crt') },
      webhook: { enabled: true },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: join(dir, `tls/${NODE}.crt`),
    tlsPrivateKeyFile: join(dir, `tls/${NODE}.key`),
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${plan.cgroup}`,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: [],
    localStorageCapacityIsolation: false,
    // Not this machine's business: its disk may be fuller than a node's would be.
    evictionHard: {
      'memory.available': '0%',
      'nodefs.available': '0%',
      'imagefs.available': '0%',
      'nodefs.inodesFree': '0%',
    },
    imageGCHighThresholdPercent: 100,
    volumePluginDir: nodePath(dir, 'volume-plugins'),
    resolvConf: '/etc/resolv.conf',
    serializeImagePulls: false,
    // Pods start a few at a time here; the default (5 a second) makes them wait.
    registryPullQPS: 0,
    kubeAPIQPS: 100,
    kubeAPIBurst: 200,
    syncFrequency: '10s',
    nodeStatusUpdateFrequency: '5s',
    shutdownGracePeriod: '0s',
  };
}
