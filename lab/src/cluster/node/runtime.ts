/** containerd with runc, and the CNI plugins that link pods to the node. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { CNI_PLUGINS } from '../../install/debian.ts';
import type { Unit } from '../../unit.ts';
import { PAUSE_IMAGE } from '../images/build.ts';
import { type ClusterPlan, NODE, POD_RANGE } from '../plan.ts';
import { enterNode, environment, nodePath } from './namespaces.ts';

/** Socket of containerd. */
export function containerdSocket(dir: string): string {
  return nodePath(dir, 'containerd.sock');
}

/** Writes the configuration; the node runs. */
export function runtimeUnit(dir: string, plan: ClusterPlan): Unit {
  const cwd = nodePath(dir);
  mkdirSync(nodePath(dir, 'cni'), { recursive: true });
  writeFileSync(nodePath(dir, 'cni/10-pods.conflist'), JSON.stringify(pods(dir)));
  writeFileSync(nodePath(dir, 'containerd.toml'), configuration(dir));
  return {
    name: 'containerd',
    host: NODE,
    netns: plan.hosts.node.netns,
    enter: enterNode(dir, cwd),
    argv: ['containerd', '-c', nodePath(dir, 'containerd.toml')],
    env: environment(),
    cwd,
    ready: { log: 'containerd successfully booted' },
  };
}

/** A routed link for each pod: what goes from pod to pod passes the node's rules, as it does between the nodes of a cluster. */
function pods(dir: string): object {
  return {
    cniVersion: '0.4.0',
    name: 'pods',
    plugins: [
      {
        type: 'ptp',
        ipMasq: true,
        ipam: {
          type: 'host-local',
          dataDir: nodePath(dir, 'addresses'),
          ranges: [[{ subnet: POD_RANGE }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
}

function configuration(dir: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${nodePath(dir, 'containerd')}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${containerdSocket(dir)}"
[${cri}]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [${cri}.containerd]
    snapshotter = "overlayfs"
    [${cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [${cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [${cri}.cni]
    bin_dir = "${CNI_PLUGINS}"
    conf_dir = "${nodePath(dir, 'cni')}"
`;
}
