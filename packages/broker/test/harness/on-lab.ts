/** Access of the broker to the mesh of a lab, with exactly the rights of the chart. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IdentityTokens } from '@meshpass/access';
import { createCsr } from '@meshpass/identity';
import { type KubeObject, type Lab, upLab } from '@meshpass/lab';
import { applyBrokerRights, BROKER_URL } from '@meshpass/lab/broker/rights';
import { parseAllDocuments, stringify } from 'yaml';
import { type CheckedCsr, checkCsr } from '../../src/mesh/istiod/check-csr.ts';
import {
  type ConnectedMesh,
  connectMesh,
  type MeshConfig,
  type MeshParts,
} from '../../src/mesh/reconcile/connect-mesh.ts';

export interface OnLab {
  readonly lab: Lab;
  /** Kubeconfig of the broker's ServiceAccount. */
  readonly kubeconfig: string;
  /** Everything that was logged, as text. */
  readonly logged: () => string;
  /** Replaces the access file. */
  writeAccess(text: string): Promise<void>;
  connect(overrides?: Partial<MeshConfig>, parts?: Partial<MeshParts>): Promise<ConnectedMesh>;
  /** Removes created objects and leaves the lab to other tests. */
  end(): Promise<void>;
}

/** @param access text of the first access file */
export async function onLab(access: string): Promise<OnLab> {
  const lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  await applyBrokerRights(lab.kubernetes);
  const dir = await mkdtemp(join(tmpdir(), 'meshpass-mesh-'));
  const kubeconfig = join(dir, 'kubeconfig');
  const accessFile = join(dir, 'access.yaml');
  await writeFile(kubeconfig, await brokerKubeconfig(lab), { mode: 0o600 });
  await writeFile(accessFile, access);
  const lines: string[] = [];
  const log = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const open: ConnectedMesh[] = [];
  const tokens = identityTokens();
  return {
    lab,
    kubeconfig,
    logged: () => lines.join('\n'),
    writeAccess: (text) => writeFile(accessFile, text),
    connect: async (overrides = {}, parts = {}) => {
      const config = { kubeconfig, accessFile, istiod: { address: lab.istiodAddress }, ...overrides };
      const mesh = await connectMesh(config, {
        tokens: () => tokens,
        log: { info: log, warn: log, error: log },
        ...parts,
      });
      open.push(mesh);
      return mesh;
    },
    end: async () => {
      for (const mesh of open) mesh.close();
      await removeAllOfOurs(lab);
      await rm(dir, { recursive: true });
      await lab.down();
    },
  };
}

/** Waits until a condition is true. @throws Error with the last value */
export async function until<T>(look: () => T | Promise<T>, ok: (seen: T) => boolean, seconds = 20): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (ok(seen)) return seen;
    if (Date.now() > end) throw new Error(`it never came true; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function untilReady(mesh: ConnectedMesh): Promise<void> {
  await until(mesh.state.unready, (reasons) => reasons.length === 0);
}

export function freshCsr(): Promise<CheckedCsr> {
  return checkCsr(createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));
}

/** Names of the objects of ours under a collection's path. */
export async function ours(lab: Lab, path: string): Promise<readonly string[]> {
  const found = await items(lab, `${path}?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass`);
  return found.map(({ metadata }) => metadata.name).sort();
}

export async function items(lab: Lab, path: string): Promise<readonly KubeObject[]> {
  return ((await lab.kubernetes.call('GET', path)) as { items: readonly KubeObject[] }).items;
}

/** Hosts of each grant's Sidecar, by namespace. */
export async function sidecarHosts(lab: Lab): Promise<Readonly<Record<string, readonly string[]>>> {
  const found = (await items(lab, SIDECARS)).map(({ metadata, spec }) => {
    const { egress } = spec as { readonly egress: readonly { readonly hosts: readonly string[] }[] };
    return [metadata.namespace, egress.flatMap(({ hosts }) => hosts)];
  });
  return Object.fromEntries(found);
}

export const POLICIES = '/apis/security.istio.io/v1/authorizationpolicies';
export const ROOT_POLICIES = '/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies';
export const GATEWAYS = '/apis/networking.istio.io/v1/namespaces/meshpass-system/gateways';
const REQUEST_AUTHENTICATIONS = '/apis/security.istio.io/v1/namespaces/istio-system/requestauthentications';
const SIDECARS = '/apis/networking.istio.io/v1/sidecars';
const ROLE_BINDINGS = '/apis/rbac.authorization.k8s.io/v1/rolebindings';

async function removeAllOfOurs(lab: Lab): Promise<void> {
  const selector = '?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';
  for (const path of [GATEWAYS, SIDECARS, POLICIES, REQUEST_AUTHENTICATIONS, ROLE_BINDINGS, '/api/v1/namespaces']) {
    for (const { metadata } of await items(lab, path + selector)) {
      const collection = metadata.namespace
        ? path.replace(/(\/namespaces\/[^/]+)?\/(\w+)$/, `/namespaces/${metadata.namespace}/$2`)
        : path;
      await lab.kubernetes.call('DELETE', `${collection}/${metadata.name}`);
    }
  }
  await until(
    () => ours(lab, '/api/v1/namespaces'),
    (left) => left.length === 0,
    60,
  );
}

async function brokerKubeconfig(lab: Lab): Promise<string> {
  const audience = 'https://kubernetes.default.svc.cluster.local';
  const token = await lab.kubernetes.serviceAccountToken('meshpass-system', 'meshpass-broker', [audience], 3600);
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'broker',
    clusters: [{ name: 'lab', cluster: { server: lab.kubernetes.url, 'certificate-authority': lab.testCa } }],
    users: [{ name: 'broker', user: { token } }],
    contexts: [{ name: 'broker', context: { cluster: 'lab', user: 'broker' } }],
  });
}

const PLURALS: Readonly<Record<string, string>> = {
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
};

export async function applyFile(lab: Lab, name: string): Promise<void> {
  const text = await readFile(new URL(`../../../../deploy/helm/meshpass/files/${name}`, import.meta.url), 'utf8');
  for (const document of parseAllDocuments(text)) {
    const { apiVersion, kind, metadata } = document.toJS() as KubeObject;
    const base = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
    const inside = metadata.namespace ? `/namespaces/${metadata.namespace}` : '';
    const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
    const path = `${base}${inside}/${plural}/${metadata.name}?fieldManager=test&force=true`;
    await lab.kubernetes.call('PATCH', path, document.toJS(), 'application/apply-patch+yaml');
  }
}

export function identityTokens(): IdentityTokens {
  const { n, e } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const jwks = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k1', alg: 'RS256', use: 'sig', n, e }] });
  return { issuer: BROKER_URL, audience: 'meshpass', header: 'x-meshpass-token', jwks };
}
