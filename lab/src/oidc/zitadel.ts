/** Another company's identity provider, of other authors and in another language: `github.com/zitadel/oidc` (certified), in Go. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ensureZitadelOidc } from '../install/tools.ts';
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
}

export interface RunningZitadel {
  readonly url: string;
  readonly issuer: string;
  readonly admin: ProviderAdmin;
  close(): Promise<void>;
}

/** Its first start on a machine builds it. */
export const BUILD_MS = 900_000;

const CODE = 'authorization_code';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const REFRESH = 'refresh_token';

/** With the same people and clients as `startIdp`. @throws LabError `lab_install`; Error where it does not start */
export async function startZitadel({ listen, tls, ca }: ZitadelOptions): Promise<RunningZitadel> {
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
  const child = spawn(binary, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the identity provider ended (${code})`)));
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  return {
    ...{ url, issuer: url, admin: idpAdmin(url, ca === undefined ? {} : { ca }) },
    close: async () => {
      process.off('exit', kill);
      kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
