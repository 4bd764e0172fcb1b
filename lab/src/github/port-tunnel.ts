/**
 * Program that a Codespace's machine runs for GitHub's port forwarding: the workspace's end of a tunnel to the stand-in. It listens
 * on a socket file, which any other network namespace can open, and reads the port from the first line of a connection.
 *
 *   node lab/src/github/port-tunnel.ts FILE
 */
import { rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';

const LONGEST_LINE = 8;
const file = process.argv[2]!;
rmSync(file, { force: true });

const server = createServer((tunnel) => {
  tunnel.on('error', () => tunnel.destroy());
  let line = '';
  const onReadable = () => {
    for (let byte = tunnel.read(1) as Buffer | null; byte !== null; byte = tunnel.read(1) as Buffer | null) {
      if (byte[0] === 0x0a) {
        tunnel.off('readable', onReadable);
        const inside = connect(Number(line), '127.0.0.1');
        inside.on('error', () => tunnel.destroy());
        inside.on('close', () => tunnel.destroy());
        tunnel.on('close', () => inside.destroy());
        tunnel.pipe(inside).pipe(tunnel);
        return;
      }
      line += String.fromCharCode(byte[0]!);
      if (line.length > LONGEST_LINE) return void tunnel.destroy();
    }
  };
  tunnel.on('readable', onReadable);
});
server.listen(file, () => console.log(`port tunnel listens at ${file}`));
