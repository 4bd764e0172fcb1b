/**
 * Changes the root of the mesh as an operator of Istio does: the new root is trusted beside the old one, then istiod signs
 * with the new authority, then the old root goes. Each stage rewrites the Secret `cacerts`, which istiod follows
 * without a restart if ISTIO_MULTIROOT_MESH is on, and sends to its proxies if PROXY_CONFIG_XDS_AGENT is.
 */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { type MeshAuthority, makeMeshAuthority } from '../certificates.ts';
import { LabError } from '../error.ts';
import type { Lab } from '../lab.ts';
import { killUnit, runUnit, unitOf } from '../unit.ts';
import { proxyName } from './proxy.ts';

export interface CaRotation {
  /** Both roots are trusted by istiod, every proxy and readers of the ConfigMap; the old authority signs. */
  trustBoth(): Promise<void>;
  /** The new authority signs. Proxies present certificates of the old one until they renew them. */
  switchIssuer(): Promise<void>;
  /** Only the new root is trusted, and every proxy has a certificate of it. */
  dropOld(): Promise<void>;
}

const PATIENCE_MS = 60_000;
const LOOK_MS = 100;
const SWITCHES = { istiod: { ISTIO_MULTIROOT_MESH: 'true' }, proxy: { PROXY_CONFIG_XDS_AGENT: 'true' } };

/** Turns Istio's switches on by restarting istiod and the proxies if needed, and creates the next authority. */
export async function prepareCaRotation(lab: Lab): Promise<CaRotation> {
  await switchOn(lab, 'istiod', SWITCHES.istiod);
  const proxies = Object.values(lab.hosts).filter(({ workload }) => workload && workload.kind !== 'ambient');
  await Promise.all(proxies.map((host) => switchOn(lab, proxyName(host), SWITCHES.proxy)));

  const folder = join(lab.dir, 'ca');
  const old = readFileSync(join(folder, 'root-cert.pem'), 'utf8');
  const next = await makeMeshAuthority(`Meshpass lab mesh ${Date.now().toString(36)}`);
  const install = (files: Readonly<Record<string, string>>): void => {
    // Beside it, then moved: istiod reads all of them a moment after it notices the first.
    const beside = mkdtempSync(join(lab.dir, 'ca-next-'));
    for (const [name, text] of Object.entries(files))
      writeFileSync(join(beside, name), text, { mode: name === 'ca-key.pem' ? 0o600 : 0o644 });
    for (const name of Object.keys(files)) renameSync(join(beside, name), join(folder, name));
    rmSync(beside, { recursive: true });
  };
  const everybodyTrusts = (roots: readonly string[]): Promise<void> =>
    until(`not every proxy trusts the ${roots.length === 1 ? 'new root' : 'two roots'} alone`, async () => {
      const trusted = await Promise.all([
        publishedRoots(lab),
        ...proxies.map(async (host) => (await ofProxy(lab, host.name)).roots),
      ]);
      return trusted.every((found) => sameSet(found, roots.map(serialOf)));
    });

  return {
    trustBoth: async () => {
      install({ 'root-cert.pem': `${old.trim()}\n${next.root.trim()}\n` });
      await everybodyTrusts([old, next.root]);
    },
    switchIssuer: async () => {
      const { root: _, ...files } = next;
      install(files);
      await until('istiod does not serve a certificate of the new authority', () => servesUnder(lab, next));
    },
    dropOld: async () => {
      install({ 'root-cert.pem': next.root });
      await everybodyTrusts([next.root]);
      await until('not every proxy has a certificate of the new authority', async () => {
        const found = await Promise.all(proxies.map((host) => ofProxy(lab, host.name)));
        return found.every(({ chain }) => chain.includes(serialOf(next['ca-cert.pem'])));
      });
    },
  };
}

async function switchOn(lab: Lab, name: string, switches: Readonly<Record<string, string>>): Promise<void> {
  const unit = unitOf(lab.dir, name);
  if (!unit) throw new LabError('lab_usage', `There is no ${name} in this lab.`);
  if (Object.entries(switches).every(([variable, value]) => unit.env[variable] === value)) return;
  await killUnit(lab.dir, name);
  await runUnit(lab.dir, { ...unit, env: { ...unit.env, ...switches } });
}

async function publishedRoots(lab: Lab): Promise<readonly string[]> {
  const path = '/api/v1/namespaces/istio-system/configmaps/istio-ca-root-cert';
  const { data } = (await lab.kubernetes.call('GET', path)) as { data?: Readonly<Record<string, string>> };
  return blocksOf(data?.['root-cert.pem'] ?? '').map(serialOf);
}

/** Secrets of Envoy from its pilot-agent, as its administration lists them, without private keys. */
interface Secrets {
  readonly configs?: readonly {
    readonly secret?: {
      readonly tls_certificate?: { readonly certificate_chain?: Inline };
      readonly validation_context?: { readonly trusted_ca?: Inline };
    };
  }[];
}
interface Inline {
  /** PEM in base64. */
  readonly inline_bytes?: string;
}

/** Trust of a proxy: serial numbers of the chain that it presents, and of the roots that it trusts. */
async function ofProxy(lab: Lab, host: string): Promise<{ chain: readonly string[]; roots: readonly string[] }> {
  const url = 'http://127.0.0.1:15000/config_dump?resource=dynamic_active_secrets';
  const { stdout } = await lab.exec(host, ['curl', '-s', '-m', '5', url]);
  let secrets: Secrets;
  try {
    secrets = JSON.parse(stdout) as Secrets;
  } catch {
    return { chain: [], roots: [] }; // it does not answer yet
  }
  const found = (secrets.configs ?? []).flatMap(({ secret }) => secret ?? []);
  const serials = (all: readonly (Inline | undefined)[]): readonly string[] =>
    all.flatMap((one) => blocksOf(Buffer.from(one?.inline_bytes ?? '', 'base64').toString())).map(serialOf);
  return {
    chain: serials(found.map(({ tls_certificate }) => tls_certificate?.certificate_chain)),
    roots: serials(found.map(({ validation_context }) => validation_context?.trusted_ca)),
  };
}

/** Whether istiod's own certificate is vouched for by the new root alone. */
function servesUnder(lab: Lab, { root }: MeshAuthority): Promise<boolean> {
  const [host, port] = lab.istiodAddress.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host: host!, port: Number(port), servername: 'istiod.istio-system.svc', ca: root });
    const end = (verdict: boolean): void => {
      socket.destroy();
      resolve(verdict);
    };
    socket.setTimeout(5_000, () => end(false));
    socket.once('error', () => end(false));
    socket.once('secureConnect', () => end(socket.authorized));
  });
}

function blocksOf(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

function serialOf(pem: string): string {
  return new X509Certificate(pem).serialNumber;
}

function sameSet(left: readonly string[], right: readonly string[]): boolean {
  const [a, b] = [new Set(left), new Set(right)];
  return a.size === b.size && [...a].every((one) => b.has(one));
}

async function until(otherwise: string, ok: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await ok())) {
    if (Date.now() > deadline) throw new LabError('lab_start', `The root of the mesh was not changed: ${otherwise}.`);
    await sleep(LOOK_MS);
  }
}
