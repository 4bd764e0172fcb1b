/** Starts Envoy (≈100 ms) in parallel with the first broker request. Envoy then waits for its configuration. */
import { join } from 'node:path';
import type { FoundEnvoy } from './find.ts';
import { type EnvoySocket, openEnvoySocket } from './socket.ts';
import { EnvoySupervisor, type SupervisorOptions } from './supervisor.ts';

export interface LaunchedEnvoy {
  readonly supervisor: EnvoySupervisor;
  /** Socket from which Envoy requests configuration and secrets. */
  readonly socket: EnvoySocket;
  /** Unix socket for requests that make Envoy open tunnels. */
  readonly warmUpSocket: string;
  /** Drains and stops Envoy. */
  close(): Promise<void>;
}

/**
 * Starts Envoy.
 * @param directory the agent's private directory
 */
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
