/** Whether the proxy listens where it should, from what Envoy says of its listeners. */
import type { ListenerState } from '../envoy/admin.ts';

export const LOOPBACK = '127.0.0.1';

export function proxyListensOn(listeners: readonly ListenerState[], on: string, port: number): boolean {
  return listeners.some(({ address }) => address === `${on}:${port}`);
}

/** @returns for a person: where it does not listen, and what to do */
export function proxyNotes(
  listeners: readonly ListenerState[],
  port: number,
  bridgeAddress: string | undefined,
): readonly string[] {
  const isMissing = (address: string) => !proxyListensOn(listeners, address, port);
  const missing = (address: string) => `The proxy does not listen on ${address}:${port} now`;
  return [
    ...(isMissing(LOOPBACK) ? [`${missing(LOOPBACK)}.`] : []),
    ...(bridgeAddress !== undefined && isMissing(bridgeAddress)
      ? [
          `${missing(bridgeAddress)}, so containers cannot reach it: if this machine has no such address, start Docker, then ` +
            'meshpass down and up.',
        ]
      : []),
  ];
}
