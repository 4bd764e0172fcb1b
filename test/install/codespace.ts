/** A Codespace of alice: a clean Debian root with the Feature, on a host of the internet that reaches only load balancers. */
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '@meshpass/lab/cluster';
import { type Container, startContainer } from '@meshpass/lab/devcontainer/container';
import { copyDebianRoot, installFeature } from '@meshpass/lab/devcontainer/root';
import { standIns } from '@meshpass/lab/stand-ins';
import { type PreparedFeature, prepareFeature } from '../../bench/feature/prepare.ts';

export interface Codespace {
  /** Starts its container, and runs the Feature's commands for that. @returns their output */
  start(): Promise<string>;
  /** Runs commands of the page as the remote user. A terminal in a stopped Codespace starts it. @returns their output */
  run(script: string): Promise<string>;
  /** Stops it as GitHub does. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** File of the CA of the `.test` names, which the container trusts as an organization's image trusts its own. */
const CA_FILE = '/etc/organization-ca.pem';

/** @param options of the Feature, from the page's devcontainer.json */
export async function codespaceOf(cluster: Cluster, options: Readonly<Record<string, string>>): Promise<Codespace> {
  const feature: PreparedFeature = await prepareFeature();
  const work = mkdtempSync(join(tmpdir(), 'meshpass-codespace-'));
  const root = join(work, 'root');
  await copyDebianRoot('bookworm', root);
  const upper = Object.entries(options).map(([name, value]) => [name.toUpperCase(), value] as const);
  const installed = await installFeature(root, feature.folder, {
    ...Object.fromEntries(upper),
    MIRROR: feature.mirror,
  });
  if (installed.code !== 0) throw new Error(`install.sh: ${installed.stdout}${installed.stderr}`);
  copyFileSync(cluster.testCa, join(root, CA_FILE));
  const { name, token } = await standIns(cluster).github.createCodespace({
    owner: 'alice',
    repository: 'acme/payments-api',
  });
  const env = { CODESPACES: 'true', CODESPACE_NAME: name, GITHUB_TOKEN: token, MESHPASS_CA_FILE: CA_FILE };
  let container: Container | undefined;
  const run = async (argv: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await container!.exec(argv, env);
    if (code !== 0) throw new Error(`exit code ${code} of ${argv.join(' ')}:\n${stdout}${stderr}`);
    return `${stdout}${stderr}`;
  };
  const stop = async () => {
    await container?.stop();
    container = undefined;
  };
  const start = async () => {
    container = await startContainer(cluster, 'workspace', root, feature.entrypoint);
    return await run([feature.postStartCommand]);
  };
  return {
    start,
    run: async (script) => {
      if (!container) await start();
      return await run(['/bin/bash', '--norc', '-euo', 'pipefail', '-c', script]);
    },
    stop,
    close: async () => {
      await stop();
      feature.close();
      rmSync(work, { recursive: true, force: true });
    },
  };
}
