/** The Codespace stops; then an operator's drill proves that no credential of an ended session works at any layer. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentStatus } from '@meshpass/agent';
import { isAlive } from '@meshpass/agent/process/down';
import { codespaceEnvironment } from '../meshpass.ts';
import type { OpenCodespace } from './codespace.ts';
import { OPERATOR_HOST, signIn } from './operator.ts';
import { expectThat, type Scene } from './scene.ts';

/** @returns the environment of the operator who ran the drill */
export async function stop(
  scene: Scene,
  { codespace, status }: OpenCodespace,
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
  return await drill(scene);
}

/** Runs on a host inside the cluster's network, where no workspace ever is, to try gateway and sidecars without the edge in front. */
async function drill(scene: Scene): Promise<Readonly<Record<string, string>>> {
  const { lab, meshpass, github, story } = scene;
  story.aside('Now prove it. A drill keeps every credential and tries each one again, here as a job in the cluster:');
  // The drill runs where every layer can be reached, so its Codespace has to be there.
  const at = { owner: 'alice', repository: 'acme/payments-api', host: OPERATOR_HOST };
  const codespace = await github.createCodespace(at);
  const evidence = join(lab.dir, 'drill.jws');
  const operator = await signIn(scene);
  const argv = [
    ...['meshpass', 'drill', '--rebuild', '--kubeconfig', lab.kubeconfig],
    ...['--inside-gateway', lab.gatewayAddress, '--inside-pod', `orders.shop:8080=${lab.hosts.orders!.ip}:8080`],
    ...[`ledger-db.shop:5432=${lab.hosts['ledger-db']!.ip}:5432`, '--evidence', evidence],
  ];
  const env = { ...codespaceEnvironment(lab, meshpass, codespace), ...operator };
  story.command('meshpass drill --rebuild --evidence drill.jws --kubeconfig ... --inside-gateway ...');
  const { code, stdout, stderr } = await lab.exec(OPERATOR_HOST, argv, { env });
  story.lines(stdout.trim().split('\n'));
  expectThat(code === 0, `the drill found something that still works: ${stderr}`);
  const verified = await lab.exec('workspace', ['meshpass', 'drill', '--verify', evidence], { env });
  expectThat(verified.code === 0, `the evidence does not verify: ${verified.stderr}`);
  story.command('meshpass drill --verify drill.jws');
  story.done(verified.stdout.trim().split('\n').at(-1)!);
  return operator;
}

async function untilGone({ pid }: AgentStatus): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (isAlive(pid)) {
    expectThat(Date.now() < deadline, 'the agent did not end');
    await sleep(5);
  }
}
