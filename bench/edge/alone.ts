/** An edge alone: in this process, before a service that is a process of its own, with one session that may reach it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createSessionDirectory, startEdge } from '@meshpass/edge';
import { createCa, svid } from '../../packages/edge/test/mesh-ca.ts';

const PRINCIPAL = 'spiffe://cluster.local/ns/meshpass-bench/sa/bench';
export const TARGET = { host: 'orders.shop.svc.cluster.local', port: 8080 };

export async function startAlone() {
  const service = child(new URL('./service.ts', import.meta.url));
  const [{ port: servicePort }] = (await once(service, 'message')) as [{ port: number }];
  const ca = await createCa('mesh');
  const web = await createCa('web');
  const server = await web.issue({ san: [{ type: 'dns', value: 'edge.test' }] });
  const directory = createSessionDirectory({ clock: Date.now });
  const session = {
    id: 'bench',
    subject: 'bench',
    expires_at: Math.floor(Date.now() / 1000) + 3600,
    principals: [{ spiffe_id: PRINCIPAL, targets: [TARGET] }],
  };
  directory.apply({ type: 'snapshot', sessions: [session], roots: [ca.root] });
  const beat = setInterval(() => directory.apply({ type: 'beat', at: Math.floor(Date.now() / 1000) }), 1000);
  const edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: server,
    gateway: { host: '127.0.0.1', port: servicePort },
    directory,
    report: () => {},
  });
  return {
    port: edge.address.port,
    servicePort,
    /** The client certificate of the outer TLS, and the CA of the edge's own. */
    outer: { ...(await svid(ca, PRINCIPAL)), ca: web.root },
    async close() {
      clearInterval(beat);
      await edge.close();
      directory.close();
      service.kill();
    },
  };
}

/** Ends with this process. */
export function child(program: URL): ChildProcess {
  const started = fork(fileURLToPath(program));
  process.once('exit', () => started.kill());
  return started;
}
