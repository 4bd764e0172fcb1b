/**
 * Gateway API in the lab. istiod's controller starts when the CustomResourceDefinitions appear.
 *
 * Nothing starts the Deployment that istiod would make for a Gateway. Host `gateway-api` is that of the Gateway `public` in namespace `shop`,
 * for listeners on the ports of Service `public-istio`. Another Gateway is served by a proxy in its own namespace if its address is the name
 * of that proxy's Service: `addresses: [{ type: Hostname, value: istio-ingressgateway.istio-ingress.svc.cluster.local }]`.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabError } from '../error.ts';
import type { KubeObject, Kubernetes } from '../kubernetes.ts';

const CLASS = '/apis/gateway.networking.k8s.io/v1/gatewayclasses/istio';
const READY_MS = 60_000;
const POLL_MS = 100;

interface Definition extends KubeObject {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly plural: string };
    readonly versions: readonly { readonly name: string; readonly served: boolean }[];
  };
}

interface GatewayClass {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/**
 * Applies the definitions and waits until the API server serves every kind and istiod has accepted its own GatewayClass.
 * @param crdFile a JSON array
 * @throws LabError `lab_start` when it takes too long
 */
export async function installGatewayApi(kubernetes: Kubernetes, crdFile: string): Promise<void> {
  const definitions = JSON.parse(readFileSync(crdFile, 'utf8')) as Definition[];
  await kubernetes.apply(...definitions);
  for (const deadline = Date.now() + READY_MS; !(await isServed(kubernetes, definitions)); await sleep(POLL_MS))
    if (Date.now() > deadline) throw new LabError('lab_start', 'istiod does not accept its GatewayClass. See its log.');
}

async function isServed(kubernetes: Kubernetes, definitions: readonly Definition[]): Promise<boolean> {
  const lists = definitions.map(pathOf);
  if ((await Promise.all(lists.map((path) => get(kubernetes, path)))).includes(undefined)) return false;
  const found = (await get(kubernetes, CLASS)) as GatewayClass | undefined;
  const conditions = found?.status?.conditions ?? [];
  return conditions.some(({ type, status }) => type === 'Accepted' && status === 'True');
}

function pathOf({ spec: { group, names, versions } }: Definition): string {
  return `/apis/${group}/${versions.find(({ served }) => served)?.name}/${names.plural}?limit=1`;
}

/** Until the API server serves a kind, it does not know the path. */
async function get(kubernetes: Kubernetes, path: string): Promise<unknown> {
  return kubernetes.call('GET', path).catch((error: LabError) => {
    if (error.cause !== 404) throw error;
  });
}
