/** The near end for bench/edge/tunnels.ts: opens tunnels, uses each for one round trip, and closes it. */
import { once } from 'node:events';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { clientHello } from './client-hello.ts';

export interface Opening {
  readonly tunnels: number;
  readonly atOnce: number;
  readonly port: number;
  readonly target: { readonly host: string; readonly port: number };
  readonly outer: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Resume TLS sessions as long as there are tickets. */
  readonly resume: boolean;
}

export interface Opened {
  readonly resumed: number;
  readonly medianMicros: number;
}

process.on('message', async (opening: Opening) => {
  const tickets: Buffer[] = [];
  const micros: number[] = [];
  let left = opening.tunnels;
  let resumed = 0;
  const opener = async () => {
    while (left-- > 0) {
      const begun = performance.now();
      const socket = await open(opening, tickets);
      micros.push((performance.now() - begun) * 1000);
      if (socket.isSessionReused()) resumed++;
      socket.end();
      await once(socket, 'close');
    }
  };
  await Promise.all(Array.from({ length: opening.atOnce }, opener));
  process.send!({ resumed, medianMicros: micros.sort((a, b) => a - b)[micros.length >> 1]! } satisfies Opened);
});
process.once('disconnect', () => process.exit());
process.send!('ready');

async function open({ port, target, outer, resume }: Opening, tickets: Buffer[]): Promise<TLSSocket> {
  const session = resume ? tickets.pop() : undefined;
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    ...outer,
    servername: 'edge.test',
    ALPNProtocols: ['http/1.1'],
    ...(session && { session }),
  });
  // As many as Envoy keeps.
  socket.on('session', (ticket: Buffer) => resume && tickets.length < 2 && tickets.push(ticket));
  await once(socket, 'secureConnect');
  socket.setNoDelay(true);
  const authority = `${target.host}:${target.port}`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString().startsWith('HTTP/1.1 200')) throw new Error(answer.toString());
  socket.write(
    Buffer.concat([clientHello(`outbound_.${target.port}_._.${target.host}`), Buffer.from('p'), Buffer.alloc(200, 1)]),
  );
  await once(socket, 'data');
  return socket;
}
