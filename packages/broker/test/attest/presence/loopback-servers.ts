/** Programs on ports of a Codespace, which is loopback here. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach } from 'vitest';

export interface LoopbackServer {
  readonly server: Server;
  readonly port: number;
}

/** @returns starts one; all end after each test of the file that calls this */
export function loopbackServers(): (listener: RequestListener) => Promise<LoopbackServer> {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  });
  return async (listener) => {
    const server = createServer(listener);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, port: (server.address() as AddressInfo).port };
  };
}
