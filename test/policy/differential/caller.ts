/** Makes the described calls, directly at a workload's sidecar, and reports the answers. */
import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Call } from '@meshpass/analysis/evaluate';
import type { Identity } from './identities.ts';

/** Status of an HTTP answer; `open` if bytes come back, `closed` if the connection ends instead. */
export type Seen = number | 'open' | 'closed';

export interface Caller {
  /** @param plain no TLS, even if the call has a principal: the port accepts none */
  call(call: Call, plain: boolean): Promise<Seen>;
  /** Forgets kept connections: after a change of policies they would continue under the old ones. */
  renew(): void;
}

const PATIENCE_MS = 10_000;
const ALPN = { http: ['istio-http/1.1', 'istio', 'http/1.1'], tcp: ['istio'] };
const BYTES = 'hello, mesh\n';

export function makeCaller(identities: ReadonlyMap<string, Identity>): Caller {
  const kept = new Map<string, Socket>();
  const open = (call: Call, plain: boolean): Promise<Socket> => {
    const below = { host: call.destinationIp!, port: call.port, localAddress: call.sourceIp! };
    const announces = call.announces ?? (call.http ? 'http' : 'tcp');
    const identity = call.principal === undefined || plain ? undefined : identities.get(call.principal)!;
    const socket = identity
      ? connectTls({
          ...below,
          ...identity,
          rejectUnauthorized: false,
          ALPNProtocols: ALPN[announces],
          ...(call.sni !== undefined && { servername: call.sni }),
        })
      : connectTcp(below);
    return settle(socket, identity ? 'secureConnect' : 'connect');
  };
  return {
    call: async (call, plain) => {
      const key = JSON.stringify([call.principal, plain, call.port, call.sourceIp, call.sni, call.announces]);
      const known = call.http ? kept.get(key) : undefined;
      kept.delete(key);
      const on = async (made: Promise<Socket>): Promise<Seen> => {
        const socket = await made.catch(() => undefined);
        if (!socket) return 'closed';
        const { what, keep } = await exchange(socket, call);
        if (keep) kept.set(key, socket);
        else socket.destroy();
        return what;
      };
      const seen = known && !known.destroyed ? await on(Promise.resolve(known)) : 'closed';
      // The other side may have closed the connection while it was kept.
      return seen === 'closed' ? on(open(call, plain)) : seen;
    },
    renew: () => {
      for (const socket of kept.values()) socket.destroy();
      kept.clear();
    },
  };
}

function settle(socket: Socket, event: 'connect' | 'secureConnect'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.setNoDelay(true);
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
    socket.once(event, () => resolve(socket));
    // Later failures show as the end of the connection.
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}

/** Sends the call over an open connection. */
export function exchange(socket: Duplex, call: Call): Promise<{ readonly what: Seen; readonly keep: boolean }> {
  return new Promise((resolve) => {
    let text = '';
    const end = (what: Seen, keep = false): void => {
      socket.removeAllListeners('data').removeAllListeners('close').removeAllListeners('end');
      resolve({ what, keep });
    };
    socket.once('close', () => end('closed'));
    socket.once('end', () => end('closed'));
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      if (!call.http && text.startsWith(BYTES)) return end('open');
      const head = text.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0);
      if (text.length - head - 4 < length) return;
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
      end(status, !/\r\nconnection: *close/i.test(text));
    });
    socket.write(call.http ? request(call.http) : BYTES, 'latin1');
  });
}

function request({ method, path, authority, headers }: NonNullable<Call['http']>): string {
  const lines = Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\ncontent-length: 0\r\n${lines.join('')}\r\n`;
}
