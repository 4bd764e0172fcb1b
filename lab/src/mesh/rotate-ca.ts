/**
 * Changes the root of the mesh as an operator of Istio does: the new root is trusted beside the old one, then istiod signs
 * with the new authority, then the old root goes. Each stage is the Secret `cacerts` written anew, which istiod follows
 * without a restart where ISTIO_MULTIROOT_MESH is on, and tells its proxies of where PROXY_CONFIG_XDS_AGENT is.
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
  /** Both roots are trusted by istiod, every proxy, and whoever reads the ConfigMap; the old authority signs. */
  trustBoth(): Promise<void>;
  /** The new authority signs. Proxies present certificates of the old one until they renew them. */
  switchIssuer(): Promise<void>;
  /** Only the new root is trusted, and every proxy has a certificate of it. */
  dropOld(): Promise<void>;
}

const PATIENCE_MS = 60_000;
const LOOK_MS = 100;
const SWITCHES = { istiod: { ISTIO_MULTIROOT_MESH: 'true' }, proxy: { PROXY_CONFIG_XDS_AGENT: 'true' } };

/** Turns Istio's switches on, where they are off, by starting istiod and the proxies anew; makes the next authority. */
export async function prepareCaRotation(lab: Lab): Promise<CaRotation> {
  await switchOn(lab, 'istiod', SWITCHES.istiod);
  const proxies = Object.values(lab.hosts).filter((host) => host.workload);
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
    until(`not everybody trusts the ${roots.length === 1 ? 'new root' : 'two roots'} alone`, async () => {
      const trusted = await Promise.all([publishedRoots(lab), ...proxies.map((host) => rootsOfProxy(lab, host.name))]);
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
        const issuers = await Promise.all(proxies.map((host) => chainOfProxy(lab, host.name)));
        return issuers.every((chain) => chain.includes(serialOf(next['ca-cert.pem'])));
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

interface EnvoyCertificates {
  readonly certificates: readonly {
    readonly ca_cert: readonly { readonly serial_number: string }[];
    readonly cert_chain: readonly { readonly serial_number: string }[];
  }[];
}

/** What Envoy's administration says of its certificates: those of the mesh, not the one file that it trusts istiod by. */
async function ofProxy(lab: Lab, host: string): Promise<EnvoyCertificates['certificates']> {
  const { stdout } = await lab.exec(host, ['curl', '-s', '-m', '5', 'http://127.0.0.1:15000/certs']);
  try {
    return (JSON.parse(stdout) as EnvoyCertificates).certificates;
  } catch {
    return [];
  }
}

async function rootsOfProxy(lab: Lab, host: string): Promise<readonly string[]> {
  const found = (await ofProxy(lab, host)).flatMap(({ ca_cert }) => ca_cert ?? []);
  return found.map(({ serial_number }) => serial(serial_number));
}

async function chainOfProxy(lab: Lab, host: string): Promise<readonly string[]> {
  const found = (await ofProxy(lab, host)).flatMap(({ cert_chain }) => cert_chain ?? []);
  return found.map(({ serial_number }) => serial(serial_number));
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
  return serial(new X509Certificate(pem).serialNumber);
}

/** Hex, however it is written. */
function serial(text: string): string {
  return text.toLowerCase().replaceAll(':', '').replace(/^0+/, '');
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
