/** Measures from the start of a dev container to the first answer of the mesh, as a Codespace does it: first process, `postStartCommand`, a call. */
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Container, startContainer } from '@meshpass/lab/devcontainer/container';
import { REMOTE_USER } from '@meshpass/lab/devcontainer/root';
import type { Hosts } from '@meshpass/lab/hosts';
import type { PreparedFeature } from './prepare.ts';

/** Path of the lab's root certificates in the container. */
export const CA_FILE = '/etc/meshpass-test-ca.pem';
export const CALL = ['curl', '-sS', '-m', '10', 'http://orders.shop:8080/orders/42'];
export const ANSWER = '{"id":"42","state":"shipped","total":4200}';

export interface Started {
  readonly container: Container;
  /** Environment that Codespaces set for commands of the remote user. */
  readonly env: Readonly<Record<string, string>>;
  /** Output of `postStartCommand`. */
  readonly said: string;
  readonly milliseconds: { readonly containerStarted: number; readonly up: number; readonly firstAnswer: number };
}

/** @throws Error if the mesh does not answer the first call */
export async function startToFirstAnswer(
  ground: Pick<Hosts, 'hosts' | 'spawn'> & { readonly testCa: string },
  feature: PreparedFeature,
  root: string,
  codespace: { readonly name: string; readonly token: string },
): Promise<Started> {
  copyFileSync(ground.testCa, join(root, CA_FILE));
  const { name: CODESPACE_NAME, token: GITHUB_TOKEN } = codespace;
  const env = { CODESPACES: 'true', CODESPACE_NAME, GITHUB_TOKEN, MESHPASS_CA_FILE: CA_FILE };
  const begin = performance.now();
  const container = await startContainer(ground, 'workspace', root, feature.entrypoint);
  const containerStarted = performance.now() - begin;
  const start = await container.exec([feature.postStartCommand], env);
  const up = performance.now() - begin;
  const call = await container.exec(CALL, env);
  const firstAnswer = performance.now() - begin;
  if (call.stdout.trim() !== ANSWER) {
    await container.stop();
    throw new Error(`the first call was not answered: ${start.stdout}${start.stderr}${call.stdout}${call.stderr}`);
  }
  return { container, env, said: start.stdout + start.stderr, milliseconds: { containerStarted, up, firstAnswer } };
}

/** A prebuild has no trace of who will use it; what an earlier Codespace of this root left is removed. */
export function asNew(root: string): void {
  rmSync(join(root, REMOTE_USER.home, '.meshpass'), { recursive: true, force: true });
}
