/**
 * Asks again and again until the first 200, and prints when that was: `node bench/data-path/first.ts HOST PORT PATH [HEADER...]`.
 * Start it before what it waits for; it says "waiting" when it has begun. Milliseconds since the epoch.
 */
import { createConnection } from 'node:net';

const PAUSE_MS = 2;
const GIVE_UP_MS = 30_000;
/** A proxy that starts can take a connection and never answer on it. */
const STALLED_MS = 2_000;

const [host, port, path, ...headers] = process.argv.slice(2);
const request = [`GET ${path} HTTP/1.1`, `Host: ${host}:${port}`, 'Connection: close', ...headers, '', ''].join('\r\n');

console.log('waiting');
const deadline = Date.now() + GIVE_UP_MS;
while (!(await answers())) {
  if (Date.now() > deadline) throw new Error(`no 200 from ${host}:${port} in ${GIVE_UP_MS} ms`);
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
console.log(performance.timeOrigin + performance.now());
process.exit(0);

function answers(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: host!, port: Number(port) });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.setTimeout(STALLED_MS, () => socket.destroy());
    socket.on('connect', () => socket.write(request));
    socket.on('data', (chunk: Buffer) => {
      resolve(chunk.toString('latin1', 0, 12) === 'HTTP/1.1 200');
      socket.destroy();
    });
  });
}
