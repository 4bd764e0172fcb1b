/** A Codespace starts, its agent proves who the developer is, and gets credentials. */
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { StartedCodespace } from '../github/admin-client.ts';
import { codespaceEnvironment } from '../meshpass.ts';
import { expectThat, type Scene, typed } from './scene.ts';

export interface OpenCodespace {
  readonly codespace: StartedCodespace;
  readonly status: AgentStatus;
  /** When `meshpass up` was typed, as performance.now() tells. */
  readonly upAt: number;
}

export async function openCodespace(scene: Scene): Promise<OpenCodespace> {
  const { lab, meshpass, github, story } = scene;
  story.chapter('A Codespace starts', 'alice, of team acme/payments, opens acme/payments-api');
  const codespace = await github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
  const env = codespaceEnvironment(lab, meshpass, codespace);
  const upAt = performance.now();
  const { stdout } = await typed(scene, ['meshpass', 'up', '--output', 'json'], env);
  const milliseconds = Math.round(performance.now() - upAt);
  const status = JSON.parse(stdout) as AgentStatus;
  const { session, credentials } = status;
  story.done(`identity attested by GitHub: ${session.login}, ${session.subject}, in ${session.workspace}`);
  const [asked] = await github.forwarded();
  expectThat(asked !== undefined, 'the broker has not asked the Codespace itself');
  const port = asked.replace(/^GET (.*)\/.*$/, '$1');
  story.done(`presence: the broker asked https://${port} (a stand-in), and the agent answered with the session's key`);
  for (const { spiffeId, expiresAt } of credentials.svids) {
    story.done(`SVID signed by istiod: ${spiffeId}, until ${time(expiresAt)}`);
  }
  story.done(`identity token (RS256), until ${time(credentials.identityTokenExpiresAt)}; both renew by themselves`);
  story.done(`ready ${milliseconds} ms after \`meshpass up\`; session ${session.id}`);
  return { codespace, status, upAt };
}

function time(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}
