/** The Codespace stops; the same credentials are tried again, at every layer. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentStatus } from '@meshpass/agent';
import { isAlive } from '@meshpass/agent/down';
import type { TunnelReport } from '@meshpass/cli/drill/tunnel';
import { type Rogue, startRogue } from '../rogue/drive.ts';
import type { OpenCodespace } from './codespace.ts';
import { GRANT, get, ORDERS, refusedByBroker, refusedByEdge } from './refusals.ts';
import { expectThat, type Scene } from './scene.ts';

/** Istio pushes a new DENY to every sidecar within this. */
const PUSH_MS = 5_000;

export async function stop(scene: Scene, { codespace, status }: OpenCodespace, rogue: Rogue): Promise<void> {
  const { lab, meshpass, github, story } = scene;
  story.chapter('The Codespace stops', 'and every credential is dead');
  const begin = performance.now();
  process.kill(status.pid, 'SIGTERM');
  await github.setCodespaceState(codespace.name, 'Shutdown');
  await untilGone(status);
  story.done(`the agent said goodbye, restored /etc/hosts and ended, ${Math.round(performance.now() - begin)} ms`);
  const gone = await lab.exec('workspace', ['curl', '-sS', '-m', '3', 'http://orders.shop:8080/orders/1']);
  expectThat(gone.code !== 0, 'orders.shop still answers after the Codespace stopped');

  story.aside("The rogue's session ends the same way; then it replays everything that it holds:");
  const loot = await rogue.show();
  const goodbye = await rogue.speak('DELETE', '/session');
  expectThat(goodbye.status < 300, `goodbye was answered ${goodbye.status}`);

  refusedByEdge(
    scene,
    'its SVID at the edge',
    await rogue.tunnel({ target: ORDERS, grant: GRANT, edge: meshpass.edge }),
  );
  refusedByBroker(scene, 'its session token, for a new identity token', await rogue.token());
  refusedByBroker(scene, 'its session token, for a new certificate', await rogue.certificate(GRANT));
  refusedByBroker(scene, 'its session token, to renew the lease', await rogue.speak('POST', '/session/heartbeat'));

  const inside = startRogue(lab, 'github', meshpass.brokerUrl);
  await inside.take(loot);
  const [host, port] = [lab.hosts.orders!.ip, 8080];
  const straight = () =>
    inside.tunnel({
      target: ORDERS,
      grant: GRANT,
      straightTo: { host, port },
      send: get('/orders/1', loot.identityToken),
    });
  const denied = await untilDenied(straight);
  story.refused('SVID and token, from inside, straight to the pod', 'sidecar', outcome(denied));
  inside.end();
  rogue.end();
}

/** The root DENY travels through Kubernetes and istiod; the edge, the only way in, was closed at once. */
async function untilDenied(attempt: () => Promise<TunnelReport>): Promise<TunnelReport> {
  const deadline = Date.now() + PUSH_MS;
  for (;;) {
    const report = await attempt();
    if (!report.answer?.startsWith('HTTP/1.1 200')) return report;
    expectThat(Date.now() < deadline, 'a closed session still reaches the pod from inside');
    await sleep(50);
  }
}

function outcome(report: TunnelReport): string {
  return report.answer?.split('\r\n', 1)[0]?.slice('HTTP/1.1 '.length) ?? report.error ?? 'connection refused';
}

async function untilGone({ pid }: AgentStatus): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (isAlive(pid)) {
    expectThat(Date.now() < deadline, 'the agent did not end');
    await sleep(5);
  }
}
