/**
 * Throughput of a line itself, by a plain TLS connection. `node plain-tls.ts serve PORT CERT KEY` answers each
 * number with as many bytes; `node plain-tls.ts fetch HOST PORT BYTES` asks twice over one connection, which reaches its speed the first time,
 * and prints the seconds that the second time takes, from the first byte to the last.
 */
import { readFileSync } from 'node:fs';
import { connect, createServer, type TLSSocket } from 'node:tls';

const CHUNK = Buffer.alloc(256 * 1024, 0x6d);

const [mode, ...args] = process.argv.slice(2);
if (mode === 'serve') serve(Number(args[0]), args[1]!, args[2]!);
else console.log(await fetchBytes(args[0]!, Number(args[1]), Number(args[2])));

function serve(port: number, cert: string, key: string): void {
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key), minVersion: 'TLSv1.3' }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (asked: Buffer) => send(socket, Number(asked.toString())));
  });
  server.listen(port, '0.0.0.0', () => console.log('listening'));
}

function send(socket: TLSSocket, bytes: number): void {
  let remaining = bytes;
  const more = (): void => {
    while (remaining > 0) {
      const chunk = remaining < CHUNK.length ? CHUNK.subarray(0, remaining) : CHUNK;
      remaining -= chunk.length;
      if (!socket.write(chunk)) return void socket.once('drain', more);
    }
  };
  more();
}

function fetchBytes(host: string, port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let left = 0;
    let begin = 0;
    let times = 0;
    const socket = connect({ host, port, servername: host }, ask);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed, and ${left} bytes are missing`)));
    socket.on('data', (chunk: Buffer) => {
      begin ||= performance.now();
      left -= chunk.length;
      if (left > 0) return;
      if (times < 2) return ask();
      resolve((performance.now() - begin) / 1000);
      socket.destroy();
    });
    function ask(): void {
      times++;
      [left, begin] = [bytes, 0];
      socket.write(String(bytes));
    }
  });
}
