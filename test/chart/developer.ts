/** A developer's Codespace on the internet side of a cluster: the released command, its session, and calls that never stop. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Cluster } from '@meshpass/lab/cluster';
import { standIns } from '@meshpass/lab/stand-ins';
import { vi } from 'vitest';

export interface Developer {
  /** `meshpass` in the Codespace. @returns what it printed, whatever its exit code is */
  meshpass(...args: string[]): Promise<{ readonly code: number; readonly said: string }>;
  /** The status of one call of orders.shop. */
  call(): Promise<string>;
  /** Calls all the time while `work` goes on, and for some calls more. @returns how many calls, and each that was not answered 200 */
  during(work: () => Promise<unknown>): Promise<{ readonly calls: number; readonly failed: readonly string[] }>;
  close(): Promise<void>;
}

const COMMAND = fileURLToPath(new URL(`../../dist/meshpass-linux-${process.arch}/meshpass`, import.meta.url));
const CALL = [
  ...['curl', '-s', '-o', '/dev/null', '-w', '%{http_code} %{time_total} %{errormsg}\\n', '--max-time', '20'],
  'http://orders.shop:8080/orders/1',
];
const CALLS_AFTER = 40;
/** Ends with its standard input. */
const LOOP = 'while ! read -t 0.05 _; do "$@"; done';
/** By proxy: the hosts file of a host of the lab is not its own to write. */
const BY_PROXY = 'eval "$("$0" env)"; exec "$@"';

/** Starts its agent; resolves when a call is answered. */
export async function developerOf(cluster: Cluster): Promise<Developer> {
  const home = mkdtempSync(join(tmpdir(), 'meshpass-developer-'));
  const codespace = await standIns(cluster).github.createCodespace({
    owner: 'alice',
    repository: 'acme/payments-api',
  });
  const env = {
    ...{ CODESPACES: 'true', CODESPACE_NAME: codespace.name, GITHUB_TOKEN: codespace.token },
    ...{ MESHPASS_BROKER: 'https://broker.meshpass.test', MESHPASS_CA_FILE: cluster.testCa },
    ...{ MESHPASS_RUNTIME_DIR: home, MESHPASS_BY_NAME: 'false' },
  };
  const meshpass = async (...args: string[]) => {
    const { code, stdout, stderr } = await cluster.exec('workspace', [COMMAND, ...args], { env });
    return { code: code ?? 1, said: `${stdout}${stderr}` };
  };
  const byProxy = (...argv: string[]) => ['bash', '-c', BY_PROXY, COMMAND, ...argv];
  const call = async () => (await cluster.exec('workspace', byProxy(...CALL), { env })).stdout.trim();
  const up = await meshpass('up');
  if (up.code !== 0) throw new Error(`meshpass up: ${up.said}`);
  await vi.waitFor(
    async () => {
      const said = await call();
      if (!said.startsWith('200 ')) throw new Error(said);
    },
    { timeout: 60_000, interval: 500 },
  );
  return {
    ...{ meshpass, call },
    during: async (work) => {
      const child = cluster.spawn('workspace', byProxy('bash', '-c', LOOP, 'loop', ...CALL), { env });
      const failed: string[] = [];
      let calls = 0;
      createInterface({ input: child.stdout! }).on('line', (line) => {
        calls += 1;
        if (!line.startsWith('200 ')) failed.push(`${new Date().toISOString()} ${line}`);
      });
      const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
      try {
        await vi.waitUntil(() => calls > 0, { timeout: 30_000 });
        await work();
        const enough = calls + CALLS_AFTER;
        await vi.waitUntil(() => calls >= enough, { timeout: 60_000 });
      } finally {
        child.stdin?.end('\n');
        await ended;
      }
      return { calls, failed };
    },
    close: async () => {
      await meshpass('down');
      rmSync(home, { recursive: true, force: true });
    },
  };
}
