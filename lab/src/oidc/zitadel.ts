/** Another company's identity provider, of other authors and in another language: `github.com/zitadel/oidc` (certified), in Go. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ensureZitadelOidc } from '../install/tools.ts';
import type { Lab } from '../lab.ts';
import type { TlsFiles } from '../stand-in/listen.ts';
import { idpAdmin, type ProviderAdmin } from './admin-client.ts';
import { MESHPASS_CLIENT, OPERATOR_CLIENT, PEOPLE } from './idp.ts';

export interface ZitadelOptions {
  /** `HOST:PORT`, port 0 for any free one. */
  readonly listen: string;
  /** Without it plain HTTP, for unit tests on loopback. */
  readonly tls?: TlsFiles;
  /** PEM of the root of its certificate. */
  readonly ca?: string;
  /** Absent: this machine. */
  readonly host?: ZitadelHost;
}

/** Host that runs it, instead of this machine. */
interface ZitadelHost {
  readonly ip: string;
  readonly spawn: (argv: readonly string[]) => ChildProcess;
}

export interface RunningZitadel {
  readonly url: string;
  readonly issuer: string;
  readonly admin: ProviderAdmin;
  close(): Promise<void>;
}

/** Builds it at its first start on a machine. */
export const BUILD_MS = 900_000;

const CODE = 'authorization_code';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const REFRESH = 'refresh_token';

/**
 * Beside the lab's other provider, at another port of `idp.test`.
 * @throws as startZitadel()
 */
export function startZitadelOn(lab: Pick<Lab, 'dir' | 'hosts' | 'spawn' | 'testCa'>): Promise<RunningZitadel> {
  const [cert, key] = ['crt', 'key'].map((end) => readFileSync(join(lab.dir, `tls/idp.test.${end}`), 'utf8'));
  return startZitadel({
    listen: 'idp.test:0',
    tls: { cert: cert!, key: key! },
    ca: readFileSync(lab.testCa, 'utf8'),
    host: { ip: lab.hosts.github!.ip, spawn: (argv) => lab.spawn('github', argv) },
  });
}

/** Starts zitadel/oidc with the people and clients of `startIdp`. @throws LabError `lab_install`; Error if it does not start */
export async function startZitadel({ listen, tls, ca, host }: ZitadelOptions): Promise<RunningZitadel> {
  const binary = await ensureZitadelOidc(() => {});
  const folder = mkdtempSync(join(tmpdir(), 'meshpass-zitadel-'));
  const config = {
    people: PEOPLE,
    clients: [
      { id: MESHPASS_CLIENT, redirects: [], grants: [DEVICE, REFRESH] },
      {
        id: OPERATOR_CLIENT,
        redirects: ['http://127.0.0.1/callback', 'http://127.0.0.1/page/callback/corp'],
        grants: [CODE, DEVICE, REFRESH],
      },
    ],
  };
  const flags = ['--listen', listen, '--config', JSON.stringify(config)];
  if (tls) {
    for (const [name, pem] of Object.entries(tls)) writeFileSync(join(folder, name), pem, { mode: 0o600 });
    flags.push('--tls-cert', join(folder, 'cert'), '--tls-key', join(folder, 'key'));
  }
  const child = host ? host.spawn([binary, ...flags]) : spawn(binary, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr!.pipe(process.stderr, { end: false });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const lines = createInterface({ input: child.stdout! });
  const url = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the identity provider ended (${code})`)));
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const reached = host && { connect: `${host.ip}:${new URL(url).port}` };
  return {
    url,
    issuer: url,
    admin: idpAdmin(url, { ...(ca !== undefined && { ca }), ...reached }),
    close: async () => {
      process.off('exit', kill);
      kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
