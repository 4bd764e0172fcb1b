/**
 * echo.shop: says what reached it, and misbehaves on request. Argument: its version.
 *
 * lab/README.md has its ports, http.ts what HTTP requests may ask for.
 */
import { createServer as createHttp2Server } from 'node:http2';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { listenBanner } from './banner.ts';
import { echoServer } from './http.ts';
import { echoRoutes } from './rpc.ts';

const HTTP_PORTS = [8080, 8081, 7000];
const BANNER_PORTS = [2525, 2526];
const GRPC_PORT = 9000;

const version = process.argv[2] ?? 'v1';
const http = echoServer(version);
for (const port of HTTP_PORTS) http().listen(port, '0.0.0.0');
for (const port of BANNER_PORTS) listenBanner(port, version);
createHttp2Server(connectNodeAdapter({ routes: echoRoutes(version) })).listen(GRPC_PORT, '0.0.0.0', () =>
  process.stdout.write(`listening on ${GRPC_PORT}\n`),
);
