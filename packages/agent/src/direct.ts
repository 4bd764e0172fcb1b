/** Connections of the proxy to everything outside the mesh, as if there were no proxy. */
import { connect, type Socket } from 'node:net';
import { MeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';
import { notGranted } from './refusal.ts';

const TIMEOUT = 30_000;

/**
 * @param looksMeshed NAME.NAMESPACE of a known namespace: if no such host exists outside, a service was meant
 * @throws MeshpassError agent_direct_unreachable, agent_service_unknown
 */
export function connectDirect(
  host: string,
  port: number,
  looksMeshed: boolean,
  services: readonly ReachableService[],
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    const fail = (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      socket.destroy();
      const missing = cause.code === 'ENOTFOUND' || cause.code === 'EAI_AGAIN';
      reject(
        looksMeshed && missing
          ? notGranted(`${host}:${port}`, services)
          : new MeshpassError(
              'agent_direct_unreachable',
              `${host}:${port} is not in the mesh, and connecting to it failed (${cause.code ?? cause.message}).`,
              { cause },
            ),
      );
    };
    const timer = setTimeout(() => fail(new Error('timeout')), TIMEOUT);
    socket.once('error', fail);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}
