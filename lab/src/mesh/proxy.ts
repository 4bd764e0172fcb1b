/** A host's proxy: Istio's own pilot-agent with Envoy, started as its injector and gateway chart would. */
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tools } from '../install/tools.ts';
import type { Kubernetes } from '../kubernetes.ts';
import { enterHost } from '../network/enter.ts';
import { type Host, TRUST_DOMAIN } from '../plan.ts';
import { must } from '../run.ts';
import type { Unit } from '../unit.ts';
import { NODE_NAME, podLabels } from './objects.ts';

/** Istio's user, whose traffic is not captured again. */
const PROXY_UID = 1337;
/** Nothing renews these tokens here, as a kubelet would: they last longer than a lab. */
const TOKEN_SECONDS = 7 * 24 * 60 * 60;

export function proxyName(host: Host): string {
  return host.workload?.kind === 'sidecar' ? `sidecar-${host.name}` : host.name;
}

/** @returns path of the bootstrap that pilot-agent has written for the host's Envoy */
export function bootstrapFile(dir: string, host: string): string {
  return join(dir, 'hosts', host, 'proxy/etc/istio/proxy/envoy-rev.json');
}

/** Redirects the host's traffic, writes the token the proxy proves itself to istiod with, and describes its unit. */
export async function prepareProxy(dir: string, host: Host, tools: Tools, kubernetes: Kubernetes): Promise<Unit> {
  const workload = host.workload;
  if (!workload) throw new Error(`${host.name} has no workload`);
  const cwd = join(dir, 'hosts', host.name, 'proxy');
  for (const folder of [
    '',
    'etc',
    'etc/istio',
    'etc/istio/proxy',
    'var',
    'var/run',
    'var/run/secrets',
    'var/run/secrets/tokens',
  ]) {
    mkdirSync(join(cwd, folder), { recursive: true });
    chownSync(join(cwd, folder), PROXY_UID, PROXY_UID);
  }
  const [token] = await Promise.all([
    kubernetes.serviceAccountToken(workload.namespace, workload.serviceAccount, ['istio-ca'], TOKEN_SECONDS),
    workload.kind === 'sidecar' ? redirect(host, tools) : openLowPorts(host),
  ]);
  const tokenFile = join(cwd, 'var/run/secrets/tokens/istio-token');
  writeFileSync(tokenFile, token, { mode: 0o400 });
  chownSync(tokenFile, PROXY_UID, PROXY_UID);
  const meshCa = join(dir, 'ca/root-cert.pem');
  return {
    name: proxyName(host),
    host: host.name,
    netns: host.netns,
    cwd,
    uid: PROXY_UID,
    argv: [
      tools.pilotAgent,
      'proxy',
      workload.kind,
      `--domain=${workload.namespace}.svc.cluster.local`,
      `--templateFile=${workload.kind === 'waypoint' ? waypointBootstrap(cwd, tools) : tools.envoyBootstrap}`,
      '--proxyLogLevel=warning',
      '--proxyComponentLogLevel=misc:error',
      '--log_output_level=default:warn',
    ],
    env: {
      PATH: process.env.PATH ?? '',
      HOME: cwd,
      PROXY_CONFIG: JSON.stringify(proxyConfig(tools)),
      AUTOMEMLIMIT: 'off',
      POD_NAME: host.name,
      POD_NAMESPACE: workload.namespace,
      INSTANCE_IP: host.ip,
      HOST_IP: host.ip,
      SERVICE_ACCOUNT: workload.serviceAccount,
      TRUST_DOMAIN,
      PILOT_CERT_PROVIDER: 'istiod',
      CA_ADDR: 'istiod.istio-system.svc:15012',
      CA_ROOT_CA: meshCa,
      XDS_ROOT_CA: meshCa,
      ISTIO_META_CLUSTER_ID: 'Kubernetes',
      ISTIO_META_WORKLOAD_NAME: workload.app,
      ISTIO_META_MESH_ID: TRUST_DOMAIN,
      ISTIO_META_NODE_NAME: NODE_NAME,
      ISTIO_METAJSON_LABELS: JSON.stringify(podLabels(host)),
      ...(workload.kind !== 'router' && { ISTIO_META_INTERCEPTION_MODE: 'REDIRECT' }),
    },
    ready: { url: `http://${host.ip}:15021/healthz/ready` },
  };
}

/** Cuts the extension of Istio's own Envoy, which tells a waypoint of peers for telemetry. */
function waypointBootstrap(cwd: string, tools: Tools): string {
  const template = readFileSync(tools.envoyBootstrap, 'utf8');
  const cut = template.replace(/\{\{- if \.metadata_discovery \}\}.*?\{\{- end \}\}/s, '');
  if (cut === template) throw new Error("Istio's bootstrap has no metadata_discovery to cut");
  const file = join(cwd, 'envoy_bootstrap.json');
  writeFileSync(file, cut);
  return file;
}

function proxyConfig(tools: Tools): object {
  // Two threads are what Istio's injected sidecars have by default.
  return { binaryPath: tools.envoy, discoveryAddress: 'istiod.istio-system.svc:15012', concurrency: 2 };
}

/** A container may listen below port 1024 whoever runs in it, by a setting of its network namespace. */
async function openLowPorts({ netns }: Host): Promise<void> {
  const setting = '/proc/sys/net/ipv4/ip_unprivileged_port_start';
  await must(enterHost(netns, ['sh', '-c', `echo 0 >${setting}`]), 'lab_start');
}

/** Does the work of the `istio-init` container. The rules are in the host's namespace and go when it goes. */
async function redirect(host: Host, tools: Tools): Promise<void> {
  // biome-ignore format: one command
  const flags = ['-p', '15001', '-z', '15006', '-u', String(PROXY_UID), '-m', 'REDIRECT', '-i', '*', '-x', '', '-b', '*', '-d', '15090,15021,15020'];
  await must(enterHost(host.netns, [tools.pilotAgent, 'istio-iptables', ...flags]), 'lab_start');
}
