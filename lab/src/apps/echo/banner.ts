/** A protocol in which the server speaks first, in the manner of SMTP: HELO and QUIT. */
import { createServer } from 'node:net';

const MAX_LINE_BYTES = 1024;

/** @param port on all addresses of the host */
export function listenBanner(port: number, version: string): void {
  createServer((socket) => {
    let rest = '';
    socket.on('error', () => socket.destroy());
    socket.write(`220 echo.shop ${version}\r\n`);
    socket.on('data', (part) => {
      const lines = (rest + part.toString('latin1')).split('\r\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_LINE_BYTES) socket.destroy();
      for (const line of lines) {
        if (line === 'QUIT') socket.end('221 bye\r\n');
        else socket.write(line.startsWith('HELO ') ? `250 ${line.slice('HELO '.length)}\r\n` : '500 what\r\n');
      }
    });
  }).listen(port, '0.0.0.0');
}
