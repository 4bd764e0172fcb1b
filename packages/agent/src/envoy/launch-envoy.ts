/** Starts Envoy before there is a session: it needs a tenth of a second, in which the broker is asked. It waits for configuration. */
import { join } from 'node:path';
import type { FoundEnvoy } from './find.ts';
import { type EnvoySocket, openEnvoySocket } from './socket.ts';
import { EnvoySupervisor, type SupervisorOptions } from './supervisor.ts';

export interface LaunchedEnvoy {
  readonly supervisor: EnvoySupervisor;
  /** Where it asks for configuration and secrets. */
  readonly socket: EnvoySocket;
  /** Where it is asked to open tunnels. */
  readonly warmUpSocket: string;
  /** Drains and ends it. */
  close(): Promise<void>;
}

/** @param directory one that is ours alone */
export async function launchEnvoy(
  envoy: FoundEnvoy,
  { directory, log }: Pick<SupervisorOptions, 'directory' | 'log'>,
): Promise<LaunchedEnvoy> {
  const socket = await openEnvoySocket(join(directory, 'envoy.sock'));
  const supervisor = new EnvoySupervisor({ envoy, directory, agentSocket: socket.path, log });
  supervisor.start();
  return {
    supervisor,
    socket,
    warmUpSocket: join(directory, 'warm-up.sock'),
    close: async () => {
      await supervisor.close();
      socket.close();
    },
  };
}
