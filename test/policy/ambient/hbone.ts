/** HBONE, the tunnel of ambient mode: HTTP CONNECT over HTTP/2 over mutual TLS, by identities and from addresses of a test. */
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import type { Call } from '@meshpass/analysis/evaluate';
import { HBONE_PORT } from '@meshpass/lab/plan';
import { exchange, type Seen } from '../differential/caller.ts';
import type { Identity } from '../differential/identities.ts';

export interface HboneCaller {
  /** @param proxy address of the ztunnel's Pod, or of the waypoint. @returns status of the tunnel if the proxy refuses it */
  call(call: Call, proxy: string): Promise<Seen>;
  /** Closes kept connections, on which a proxy may decide by earlier policies. */
  renew(): void;
}

const PATIENCE_MS = 10_000;

/** Keeps a connection for each identity, source address and proxy. Each call has a tunnel of its own. */
export function makeHboneCaller(identities: ReadonlyMap<string, Identity>): HboneCaller {
  const kept = new Map<string, Promise<ClientHttp2Session | undefined>>();
  const sessionFor = (call: Call, proxy: string): Promise<ClientHttp2Session | undefined> => {
    const key = JSON.stringify([call.principal, call.sourceIp, call.sni, proxy]);
    const session = kept.get(key) ?? open(call, proxy, identities.get(call.principal!)!);
    kept.set(key, session);
    return session;
  };
  return {
    call: async (call, proxy) => {
      const session = await sessionFor(call, proxy);
      return session && !session.destroyed ? tunnel(session, call) : 'closed';
    },
    renew: () => {
      for (const session of kept.values()) session.then((found) => found?.destroy());
      kept.clear();
    },
  };
}

/** @returns undefined if the proxy does not accept the connection */
function open(call: Call, proxy: string, identity: Identity): Promise<ClientHttp2Session | undefined> {
  const below = { host: proxy, port: HBONE_PORT, localAddress: call.sourceIp! };
  const socket = connectTls({
    ...below,
    ...identity,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ...(call.sni !== undefined && { servername: call.sni }),
  });
  return new Promise((resolve) => {
    socket.on('error', () => resolve(undefined));
    socket.once('secureConnect', () => {
      const session = connectHttp2(`https://${proxy}`, { createConnection: () => socket });
      session.on('error', () => {}); // shows as the end of its streams
      resolve(session);
    });
  });
}

function tunnel(session: ClientHttp2Session, call: Call): Promise<Seen> {
  const stream = session.request({ ':method': 'CONNECT', ':authority': `${call.destinationIp}:${call.port}` });
  stream.setTimeout(PATIENCE_MS, () => stream.destroy());
  return new Promise((resolve) => {
    stream.on('error', () => resolve('closed'));
    stream.on('close', () => resolve('closed'));
    stream.once('response', (headers) => {
      const status = headers[':status']!;
      if (status === 200) exchange(stream, call).then(({ what }) => resolve(what));
      else resolve(status);
    });
  }).finally(() => stream.destroy()) as Promise<Seen>;
}
