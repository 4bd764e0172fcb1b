/** How long connections take until they are accepted or refused: `node connect-times.ts HOST PORT COUNT` prints JSON, ms, sorted. */
import { connect } from 'node:net';

const [host, port, count] = process.argv.slice(2);
const times = await Promise.all(Array.from({ length: Number(count) }, time));
console.log(JSON.stringify(times.sort((a, b) => a - b)));

function time(): Promise<number> {
  return new Promise((resolve) => {
    const begin = performance.now();
    const done = (): void => resolve(performance.now() - begin);
    const socket = connect({ host: host!, port: Number(port) });
    socket.on('error', done);
    socket.on('connect', () => {
      done();
      socket.destroy();
    });
  });
}
