/** Compares Envoy's listeners with the addresses on which the proxy should listen. */
import type { ListenerState } from '../envoy/admin.ts';

export const LOOPBACK = '127.0.0.1';

/** Whether Envoy listens on an address and port. */
export function proxyListensOn(listeners: readonly ListenerState[], on: string, port: number): boolean {
  return listeners.some(({ address }) => address === `${on}:${port}`);
}

/** Returns notes for the user about addresses without a listener, with the remedy. */
export function proxyNotes(
  listeners: readonly ListenerState[],
  port: number,
  bridgeAddress: string | undefined,
): readonly string[] {
  const isMissing = (address: string) => !proxyListensOn(listeners, address, port);
  const missing = (address: string) => `The proxy is not listening on ${address}:${port}`;
  return [
    ...(isMissing(LOOPBACK) ? [`${missing(LOOPBACK)}.`] : []),
    ...(bridgeAddress !== undefined && isMissing(bridgeAddress)
      ? [
          `${missing(bridgeAddress)}, so containers cannot reach it. If this machine does not have that address, start ` +
            'Docker, then run meshpass down and meshpass up.',
        ]
      : []),
  ];
}
