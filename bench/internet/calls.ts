/**
 * Calls one after the other, and how long each took: `node calls.ts new|kept HOST PORT PATH COUNT [HEADER...]` prints ms as JSON, from
 * before the connection (`new`: one for each call), or from the request over the one connection (`kept`), to the whole answer.
 * The answers are short, with a Content-Length.
 */
import { connect, type Socket } from 'node:net';

const [mode, host, port, path, count, ...headers] = process.argv.slice(2);
const REQUEST = `${[`GET ${path} HTTP/1.1`, `Host: ${host}:${port}`, ...headers].join('\r\n')}\r\n\r\n`;

const times: number[] = [];
let kept: Socket | undefined;
for (let call = 0; call < Number(count); call++) {
  if (mode === 'kept') kept ??= await open();
  const begin = performance.now();
  const socket = kept ?? (await open());
  const status = await ask(socket);
  times.push(performance.now() - begin);
  if (status !== 200) throw new Error(`${host}:${port} answered ${status}`);
  if (!kept) socket.destroy();
}
console.log(JSON.stringify(times));
process.exit(0);

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: host!, port: Number(port), noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

function ask(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const done = (end: () => void): void => {
      socket.removeAllListeners('data').removeAllListeners('close');
      end();
    };
    socket.on('close', () => done(() => reject(new Error('closed without an answer'))));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      const head = answer.indexOf('\r\n\r\n');
      const length = /\r\ncontent-length: *(\d+)/i.exec(answer)?.[1];
      if (head >= 0 && answer.length >= head + 4 + Number(length))
        done(() => resolve(Number(answer.slice('HTTP/1.1 '.length, 12))));
    });
    socket.write(REQUEST);
  });
}
