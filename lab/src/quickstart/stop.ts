/** The Codespace stops; then an operator's drills show what an ended session's credentials can still do at each layer. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { isProcessAlive } from '@meshpass/agent/process/down';
import type { DenyEndedMode } from '@meshpass/broker/core/session/deny/ended';
import { codespaceEnvironment } from '../meshpass.ts';
import type { OpenCodespace } from './codespace.ts';
import { OPERATOR_HOST, signIn } from './operator.ts';
import { expectThat, type Scene } from './scene.ts';

/** @returns the environment of the operator who ran the drill */
export async function stop(
  scene: Scene,
  { codespace, status }: OpenCodespace,
  denyEnded: DenyEndedMode,
): Promise<Readonly<Record<string, string>>> {
  const { lab, github, story } = scene;
  story.chapter('The Codespace stops', 'and every credential with it');
  const begin = performance.now();
  process.kill(status.pid, 'SIGTERM');
  await github.setCodespaceState(codespace.name, 'Shutdown');
  await untilGone(status);
  story.done(`the agent logged out, restored /etc/hosts and exited, ${Math.round(performance.now() - begin)} ms`);
  const gone = await lab.exec('workspace', ['curl', '-sS', '-m', '3', 'http://orders.shop:8080/orders/1']);
  expectThat(gone.code !== 0, 'orders.shop still answers after the Codespace stopped');
  return await drill(scene, denyEnded);
}

/** Runs on a host inside the cluster's network, which no workspace reaches, to try gateway and sidecars without the edge in front. */
async function drill(scene: Scene, denyEnded: DenyEndedMode): Promise<Readonly<Record<string, string>>> {
  const { lab, meshpass, github, story } = scene;
  story.aside('Now prove it. A drill keeps every credential and tries each one again, here as a job in the cluster:');
  // The drill runs where every layer can be reached, so its Codespace has to be there.
  const at = { owner: 'alice', repository: 'acme/payments-api', host: OPERATOR_HOST };
  const codespace = await github.createCodespace(at);
  const evidence = join(lab.dir, 'drill.jws');
  const operator = await signIn(scene);
  const inside = [
    ...['--kubeconfig', lab.kubeconfig, '--inside-gateway', lab.gatewayAddress],
    ...['--inside-pod', `orders.shop:8080=${lab.hosts.orders!.ip}:8080`],
    `ledger-db.shop:5432=${lab.hosts['ledger-db']!.ip}:5432`,
  ];
  const argv = ['meshpass', 'drill', '--rebuild', ...inside, '--evidence', evidence];
  const env = { ...codespaceEnvironment(lab, meshpass, codespace), ...operator };
  story.command('meshpass drill --rebuild --evidence drill.jws --kubeconfig ... --inside-gateway ...');
  story.lines(await drilled(scene, argv, env));
  const verified = await lab.exec('workspace', ['meshpass', 'drill', '--verify', evidence], { env });
  expectThat(verified.code === 0, `the evidence does not verify: ${verified.stderr}`);
  story.command('meshpass drill --verify drill.jws');
  story.done(verified.stdout.trim().split('\n').at(-1)!);
  if (denyEnded === 'revoked') await drillOperatorsEnd(scene, inside, env);
  return operator;
}

/** Shows that an operator's end also denies the SVID in the mesh, which a goodbye does not with default settings. */
async function drillOperatorsEnd(
  scene: Scene,
  inside: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const { story } = scene;
  story.aside(
    'Noted: after a goodbye, whoever stole the SVID with its key can use it on the pod network until it expires, in',
  );
  story.aside(
    'at most 10 minutes. A denial of every end would drain connections of the whole mesh. An operator denies it at once:',
  );
  story.command('meshpass drill --cause admin --kubeconfig ... --inside-gateway ...');
  const argv = ['meshpass', 'drill', '--cause', 'admin', ...inside];
  story.done((await drilled(scene, argv, env)).at(-1)!);
}

/** Runs a drill that must find nothing. Returns the lines of its report. */
async function drilled(
  { lab, story }: Scene,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const { code, stdout, stderr } = await lab.exec(OPERATOR_HOST, argv, { env });
  const lines = stdout.trim().split('\n');
  if (code !== 0) story.lines(lines);
  expectThat(code === 0, `the drill found something that still works: ${stderr}`);
  return lines;
}

async function untilGone({ pid }: AgentStatus): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (isProcessAlive(pid)) {
    expectThat(Date.now() < deadline, 'the agent did not end');
    await sleep(5);
  }
}
