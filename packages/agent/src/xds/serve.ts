/**
 * The agent's side of Envoy's control socket: configuration (ADS), secrets (SDS) and access log entries (ALS) by gRPC on a Unix
 * socket that only its owner can open.
 */
import { createServer, type ServerHttp2Session } from 'node:http2';
import type { DescMethodBiDiStreaming, DescMethodClientStreaming, Message } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { messageOf, serviceType } from '@meshpass/envoy';
import { LOG_NAME } from '../access-log/loggers.ts';
import type { EnvoySocket } from '../envoy/socket.ts';
import { type Answered, discover, type ResourceSource } from './discovery.ts';

export interface EnvoySocketOptions {
  readonly socket: EnvoySocket;
  readonly configuration: ResourceSource;
  readonly secrets: ResourceSource;
  /** Told what Envoy took of the configuration, and what it did not. */
  readonly answered: (answer: Answered) => void;
  /** A message of `envoy.service.accesslog.v3.StreamAccessLogsMessage`. */
  readonly logged: (entries: Message) => void;
}

interface StreamedLog extends Message {
  readonly identifier?: { readonly logName: string };
}

const LARGEST_MESSAGE = 4_194_304;

/** Answers on the socket until it is closed. */
export function serveEnvoySocket(options: EnvoySocketOptions): { close(): void } {
  const { socket, configuration, secrets, answered, logged } = options;
  const discovery = (service: string, method: string, source: ResourceSource, told: (answer: Answered) => void) => {
    const described = serviceType(service).method[method] as DescMethodBiDiStreaming;
    return (router: ConnectRouter) => router.rpc(described, (requests) => discover(requests, source, told));
  };
  const ads = discovery(
    'envoy.service.discovery.v3.AggregatedDiscoveryService',
    'streamAggregatedResources',
    configuration,
    answered,
  );
  const sds = discovery('envoy.service.secret.v3.SecretDiscoveryService', 'streamSecrets', secrets, () => {});
  const als = serviceType('envoy.service.accesslog.v3.AccessLogService').method
    .streamAccessLogs as DescMethodClientStreaming;
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer(
    connectNodeAdapter({
      readMaxBytes: LARGEST_MESSAGE,
      routes: (router) => {
        ads(router);
        sds(router);
        router.rpc(als, async (entries) => {
          let name: string | undefined;
          for await (const one of entries) {
            // Only the first message of a stream says whose it is.
            name ??= (one as StreamedLog).identifier?.logName;
            if (name === LOG_NAME) logged(one);
          }
          return messageOf('envoy.service.accesslog.v3.StreamAccessLogsResponse', {});
        });
      },
    }),
  );
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => session.destroy());
  });
  socket.serve((connection) => server.emit('connection', connection));
  return {
    close: () => {
      socket.close();
      for (const session of sessions) session.destroy();
    },
  };
}
