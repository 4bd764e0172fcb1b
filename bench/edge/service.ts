/** The far end for bench/edge/bench.ts: after an opening TLS record that it skips, a byte selects the task. */
import { createServer, type Socket } from 'node:net';

const BLOCK = Buffer.alloc(262_144, 7);

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  let opening: Buffer = Buffer.alloc(0);
  socket.on('data', function open(chunk: Buffer) {
    opening = Buffer.concat([opening, chunk]);
    if (opening.length < 5) return;
    const end = 5 + opening.readUInt16BE(3);
    if (opening.length <= end) return;
    socket.off('data', open);
    serve(socket, String.fromCharCode(opening[end]!), opening.subarray(end + 1));
  });
});
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as { port: number }).port }));
process.once('disconnect', () => process.exit());

function serve(socket: Socket, kind: string, rest: Buffer): void {
  if (kind === 'p') {
    // Messages are 200 bytes in one write: the service returns them unchanged.
    if (rest.length > 0) socket.write(rest);
    socket.on('data', (chunk) => socket.write(chunk));
  } else if (kind === 'd') {
    const pump = () => {
      while (!socket.destroyed && socket.write(BLOCK));
    };
    socket.on('drain', pump);
    pump();
  } else {
    // Reports received bytes once every few, so that the client does not count buffered ones.
    let taken = 0;
    socket.on('data', (chunk: Buffer) => {
      taken += chunk.length;
      if (taken < 1_000_000) return;
      const note = Buffer.alloc(4);
      note.writeUInt32BE(taken);
      taken = 0;
      socket.write(note);
    });
  }
}
