/** The edge of bench/channel/bench.ts, in a process of its own: it follows the broker over HTTPS as `meshpass edge` does. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { growHeapSlowly } from '@meshpass/broker/start/heap';
import { controlBroker, createSessionDirectory, followBroker, startEdge } from '@meshpass/edge';
import type { EdgeEvent } from '@meshpass/identity/channel';

export interface EdgeStart {
  readonly brokerPort: number;
  readonly brokerCa: string;
  readonly token: string;
  /** Root of the mesh that the clients' SVIDs are of; the broker's mesh is played and has none. */
  readonly meshRoot: string;
  readonly cert: string;
  readonly key: string;
}
export interface EdgeStarted {
  readonly port: number;
}

process.once('message', async (start: EdgeStart) => {
  growHeapSlowly();
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-bench-edge-'));
  const tokenFile = join(dir, 'token');
  const caFile = join(dir, 'ca.pem');
  writeFileSync(tokenFile, start.token, { mode: 0o600 });
  writeFileSync(caFile, start.brokerCa);
  const inner = createSessionDirectory({ clock: Date.now });
  const directory = {
    ...inner,
    apply: (event: EdgeEvent) => inner.apply('roots' in event ? { ...event, roots: [start.meshRoot] } : event),
  };
  const broker = { urls: [`https://localhost:${start.brokerPort}`], tokenFile, caFile };
  const log = { info: () => {}, warn: (...line: unknown[]) => console.error('edge:', ...line) };
  followBroker({ ...broker, directory, log });
  const edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: { cert: start.cert, key: start.key },
    gateway: { host: '127.0.0.1', port: 9 },
    directory,
    report: () => {},
    control: controlBroker(broker),
    limits: { strangersPerSource: 100_000, strangers: 100_000, connections: 100_000 },
    log,
  });
  process.send!({ port: edge.address.port } satisfies EdgeStarted);
  process.on('message', (message) => {
    if (message === 'usage') process.send!(process.cpuUsage());
    if (message === 'stop') process.exit(0);
  });
});
