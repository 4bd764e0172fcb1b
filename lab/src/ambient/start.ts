/**
 * Ambient mode: a real ztunnel on host `node`, in the shared mode of real clusters (it opens its sockets in the network namespaces of
 * the node's Pods), and a waypoint, which is an Envoy as its project releases it. An istiod with `AMBIENT_ISTIOD` (control-plane.ts) serves them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureGatewayApi } from '../install/tools.ts';
import type { Kubernetes } from '../kubernetes.ts';
import { installGatewayApi } from '../mesh/gateway-api.ts';
import { NODE_NAME } from '../mesh/objects.ts';
import type { Host, Plan } from '../plan.ts';
import { runUnit, type Unit } from '../unit.ts';
import { GATEWAY, ZTUNNEL, ztunnelObjects } from './objects.ts';
import { redirectToZtunnel } from './redirect.ts';

const IN_POD = fileURLToPath(new URL('in-pod.py', import.meta.url));
const ISTIOD = 'https://istiod.istio-system.svc:15012';
const TOKEN_SECONDS = 24 * 60 * 60;

/**
 * Serves Gateway API and the waypoint's Gateway, and starts ztunnel for the Pods of the plan. The waypoint's proxy is started with the others.
 * @param ztunnel path of the binary
 */
export async function startAmbient(
  dir: string,
  plan: Plan,
  kubernetes: Kubernetes,
  ztunnel: string,
  progress: (line: string) => void,
): Promise<void> {
  const node = plan.hosts.node;
  if (!node) throw new Error('a plan with ambient mode has a node');
  const pods = Object.values(plan.hosts).filter(({ workload }) => workload?.kind === 'ambient');
  await Promise.all([
    ensureGatewayApi(progress).then((definitions) => installGatewayApi(kubernetes, definitions)),
    kubernetes.apply(...ztunnelObjects(node)),
    ...pods.map(redirectToZtunnel),
  ]);
  await kubernetes.apply(GATEWAY);
  const at = { host: node.name, netns: node.netns, cwd: join(dir, 'hosts/node') };
  mkdirSync(at.cwd, { recursive: true });
  const socket = join(at.cwd, 'in-pod.sock');
  await runUnit(dir, { ...at, ...inPod(pods, socket) });
  const token = join(at.cwd, 'token');
  writeFileSync(token, await tokenOfPod(kubernetes), { mode: 0o600 });
  await runUnit(dir, { ...at, ...ztunnelUnit(node, ztunnel, socket, token, join(dir, 'ca/root-cert.pem')) });
}

type Process = Omit<Unit, 'host' | 'netns' | 'cwd'>;

function inPod(pods: readonly Host[], socket: string): Process {
  const named = pods.flatMap(({ name, netns, workload }) =>
    workload ? `${netns}=${workload.namespace}/${name}/${workload.serviceAccount}` : [],
  );
  return {
    name: 'in-pod',
    argv: ['python3', IN_POD, socket, ...named],
    env: { PATH: process.env.PATH ?? '' },
    ready: { log: 'listens' },
  };
}

function ztunnelUnit({ ip }: Host, binary: string, socket: string, token: string, ca: string): Process {
  return {
    name: 'ztunnel',
    argv: [binary, 'proxy', 'ztunnel'],
    env: {
      PROXY_MODE: 'shared',
      INPOD_UDS: socket,
      CA_ADDRESS: ISTIOD,
      XDS_ADDRESS: ISTIOD,
      CA_ROOT_CA: ca,
      XDS_ROOT_CA: ca,
      AUTH_TOKEN: token,
      CLUSTER_ID: 'Kubernetes',
      NODE_NAME,
      POD_NAME: ZTUNNEL.pod,
      POD_NAMESPACE: ZTUNNEL.namespace,
      SERVICE_ACCOUNT: ZTUNNEL.serviceAccount,
      INSTANCE_IP: ip,
      ISTIO_META_DNS_CAPTURE: 'false',
      IPV6_ENABLED: 'false',
      RUST_LOG: 'info',
    },
    ready: { url: `http://${ip}:15021/healthz/ready` },
  };
}

/** istiod asks for a token that is bound to ztunnel's Pod, because the Pod tells the node. */
async function tokenOfPod(kubernetes: Kubernetes): Promise<string> {
  const { namespace, serviceAccount, pod } = ZTUNNEL;
  const path = `/api/v1/namespaces/${namespace}`;
  const { metadata } = (await kubernetes.call('GET', `${path}/pods/${pod}`)) as { metadata: { uid: string } };
  const answer = (await kubernetes.call('POST', `${path}/serviceaccounts/${serviceAccount}/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences: ['istio-ca'],
      expirationSeconds: TOKEN_SECONDS,
      boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: pod, uid: metadata.uid },
    },
  })) as { status: { token: string } };
  return answer.status.token;
}
