/**
 * The workload under test: a process on a host with a sidecar that answers 200 to whatever is HTTP and echoes the rest. It
 * also looks into its own Envoy, which listens for that on loopback only: a JSON order a line on standard input.
 */
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export const PORTS = { http: 7000, tcp: 7001, undeclared: 7002, unknown: 7003 } as const;

const REQUEST = /^[A-Z][A-Z_-]* \S+ HTTP\/1\.[01]\r\n/;

function serve(socket: Socket): void {
  let rest = '';
  socket.on('error', () => socket.destroy());
  socket.on('data', (part) => {
    rest += part.toString('latin1');
    if (!REQUEST.test(rest)) {
      socket.write(rest, 'latin1');
      rest = '';
      return;
    }
    for (let end = rest.indexOf('\r\n\r\n'); end >= 0; end = rest.indexOf('\r\n\r\n')) {
      const path = rest.split(' ')[1]!;
      rest = rest.slice(end + 4);
      const body = `path ${path}`;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    }
  });
}

/** Current configuration of the listener for all inbound connections, as text. */
async function inbound(): Promise<string> {
  const query = 'resource=dynamic_listeners&name_regex=virtualInbound';
  const answer = await fetch(`http://127.0.0.1:15000/config_dump?${query}`);
  const { configs } = (await answer.json()) as { configs?: { active_state?: unknown; warming_state?: unknown }[] };
  return JSON.stringify((configs ?? []).map(({ active_state }) => active_state));
}

if (import.meta.main) {
  await Promise.all(
    Object.values(PORTS).map((port) => new Promise<void>((done) => createServer(serve).listen(port, '0.0.0.0', done))),
  );
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { needles } = JSON.parse(line) as { needles: string[] };
    const text = await inbound().catch(() => '');
    console.log(JSON.stringify({ missing: needles.filter((needle) => !text.includes(needle)) }));
  }
}
