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
  /** Runs `meshpass` in the Codespace. @returns its output, for any exit code */
  meshpass(...args: string[]): Promise<{ readonly code: number; readonly said: string }>;
  /** Starts its agent, which enrols; resolves when a call is answered. */
  up(): Promise<void>;
  /** Id of its session. */
  session(): Promise<string>;
  /** The status of one call of orders.shop. @param path default `/orders/1` */
  call(path?: string): Promise<string>;
  /**
   * Calls without a pause while `work` runs, and for some calls of each kind afterwards.
   * @param kinds by default with a connection for each call, and beside that with one that is kept
   * @returns how many calls, and each that was not answered 200, with the text of its answer
   */
  during(work: () => Promise<unknown>, kinds?: readonly Kind[]): Promise<Seen>;
  close(): Promise<void>;
}

/** Kinds of calls: on a new connection, on a kept one, and a call of eight seconds. */
export type Kind = 'new' | 'kept' | 'slow';
export interface Seen {
  readonly calls: number;
  readonly failed: readonly string[];
}

const COMMAND = fileURLToPath(new URL(`../../dist/meshpass-linux-${process.arch}/meshpass`, import.meta.url));
const CURL = ['curl', '-s', '--max-time', '20'];
/** Prints the answer before the line, because the text of a refused call contains Envoy's detail. */
const CURL_IN_LINES = [...CURL, '--no-buffer'];
/** Prints Meshpass's error code of a refusal, and Envoy's upstream time, which is present if a service has answered. */
const TOLD =
  '%{http_code} %{time_total} %{errormsg} %header{x-meshpass-code} %header{x-envoy-upstream-service-time}\\n';
const ORDERS = 'http://orders.shop:8080';
/** Calls after the work, to detect late failures. */
const CALLS_AFTER: Readonly<Record<Kind, number>> = { new: 40, kept: 40, slow: 1 };
const UP_TRIES = 5;
/** Each loop ends with its standard input; `read` returns more than 128 on a timeout. */
const NEW_CONNECTIONS = 'while read -t 0.05 _; (($? > 128)); do "$@" >&2; done';
const ONE_CONNECTION = '"$@" >&2 & read _; kill $!';
/** On standard error, which waits for no buffer to be full. Twenty a second on the kept connection, for longer than any test. */
const COMMANDS: Readonly<Record<Kind, readonly string[]>> = {
  new: [NEW_CONNECTIONS, 'new', ...CURL_IN_LINES, '-w', `%{stderr}\\nnew: ${TOLD}`, `${ORDERS}/orders/1`],
  kept: [
    ...[ONE_CONNECTION, 'kept', ...CURL_IN_LINES, '-w', `%{stderr}\\nkept: ${TOLD}`],
    ...['--rate', '20/s', `${ORDERS}/orders/1?kept=[1-100000]`],
  ],
  slow: [NEW_CONNECTIONS, 'slow', ...CURL_IN_LINES, '-w', `%{stderr}\\nslow: ${TOLD}`, `${ORDERS}/orders/1?after=8000`],
};
/** Uses the proxy, because the lab host cannot write a hosts file of its own. */
const BY_PROXY = 'eval "$("$0" env)"; exec "$@"';

/** Starts its agent, as `up` does. @param command path of `meshpass` */
export async function developerOf(cluster: Cluster, command = COMMAND): Promise<Developer> {
  const home = mkdtempSync(join(tmpdir(), 'meshpass-developer-'));
  const codespace = await standIns(cluster).github.createCodespace({
    owner: 'alice',
    repository: 'acme/payments-api',
  });
  const env = {
    CODESPACES: 'true',
    CODESPACE_NAME: codespace.name,
    GITHUB_TOKEN: codespace.token,
    MESHPASS_BROKER: 'https://broker.meshpass.test',
    MESHPASS_CA_FILE: cluster.testCa,
    MESHPASS_RUNTIME_DIR: home,
    MESHPASS_BY_NAME: 'false',
  };
  const meshpass = async (...args: string[]) => {
    const { code, stdout, stderr } = await cluster.exec('workspace', [command, ...args], { env });
    return { code: code ?? 1, said: `${stdout}${stderr}` };
  };
  const byProxy = (...argv: string[]) => ['bash', '-c', BY_PROXY, command, ...argv];
  const call = async (path = '/orders/1') => {
    const argv = [...CURL, '-o', '/dev/null', '-w', TOLD, `${ORDERS}${path}`];
    return (await cluster.exec('workspace', byProxy(...argv), { env })).stdout.trim();
  };
  const up = async () => {
    for (let tries = 1; ; tries += 1) {
      const { code, said } = await meshpass('up');
      if (code === 0) break;
      // 3: a dependency does not answer yet.
      if (code !== 3 || tries === UP_TRIES) throw new Error(`meshpass up: ${said}`);
    }
    await vi.waitFor(
      async () => {
        const answer = await call();
        if (!answer.startsWith('200 ')) throw new Error(answer);
      },
      { timeout: 60_000, interval: 500 },
    );
  };
  await up();
  const session = async () => {
    const { code, said } = await meshpass('status', '--output', 'json');
    if (code !== 0) throw new Error(`meshpass status: ${said}`);
    return (JSON.parse(said) as { session: { id: string } }).session.id;
  };
  return {
    meshpass,
    up,
    call,
    session,
    during: async (work, kinds = ['new', 'kept']) => {
      const failed: string[] = [];
      const running = kinds.map((kind) => {
        const child = cluster.spawn('workspace', byProxy('bash', '-c', ...COMMANDS[kind]), { env });
        const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
        const one = { kind, calls: 0, child, ended };
        let text = '';
        createInterface({ input: child.stderr! }).on('line', (line) => {
          if (!line.startsWith(`${kind}: `)) {
            text = line || text;
            return;
          }
          one.calls += 1;
          if (!line.startsWith(`${kind}: 200 `)) failed.push(`${new Date().toISOString()} ${line} ${text}`);
          text = '';
        });
        return one;
      });
      try {
        await vi.waitUntil(() => running.every(({ calls }) => calls > 0), { timeout: 60_000 });
        await work();
        const enough = running.map(({ kind, calls }) => calls + CALLS_AFTER[kind]);
        await vi.waitUntil(() => running.every(({ calls }, index) => calls >= enough[index]!), { timeout: 60_000 });
      } finally {
        for (const { child } of running) child.stdin?.end('\n');
        await Promise.all(running.map(({ ended }) => ended));
      }
      return { calls: running.reduce((sum, { calls }) => sum + calls, 0), failed };
    },
    close: async () => {
      await meshpass('down');
      rmSync(home, { recursive: true, force: true });
    },
  };
}
