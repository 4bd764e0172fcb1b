/**
 * The process behind `meshpass up`. It runs the agent until it receives a signal or `meshpass down`, and tells its
 * parent process when the agent is ready.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { AgentConfig } from '../control/config.ts';
import type { AgentStatus } from '../control/status.ts';
import { runAgent } from '../run-agent.ts';
import type { SignInPrompt } from '../sign-in/device-flow.ts';

export type DaemonMessage =
  | { readonly ready: AgentStatus }
  | { readonly prompt: SignInPrompt }
  | { readonly refused: { readonly code: string; readonly message: string } };

/**
 * Runs the agent in this process until SIGTERM, SIGINT, SIGHUP or `meshpass down`.
 * @throws MeshpassError like `runAgent`
 */
export async function runUntilSignal(
  config: AgentConfig,
  onReady: (status: AgentStatus) => void,
  onPrompt?: (prompt: SignInPrompt) => void,
): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  const agent = await runAgent(config, { log, stop: stop.signal, ...(onPrompt && { onPrompt }) });
  onReady(await agent.status());
  await agent.closed;
}

/** Logs an event to standard error as a single line of JSON. Callers never pass tokens or keys. */
function log(event: string, detail: Readonly<Record<string, unknown>> = {}): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...detail })}\n`);
}

/**
 * Runs the process that `launchAgent` starts, from reading its configuration until it exits.
 * @param config an `AgentConfig` in JSON
 */
export async function runDaemon(config: string): Promise<void> {
  const tell = (message: DaemonMessage, told = () => {}) => {
    if (!process.connected) return told();
    process.send?.(message, () => {
      process.disconnect?.();
      told();
    });
  };
  try {
    await runUntilSignal(
      JSON.parse(config) as AgentConfig,
      (status) => tell({ ready: status }),
      (prompt) => process.send?.({ prompt } satisfies DaemonMessage),
    );
    process.exit(0);
  } catch (thrown) {
    const error = thrown instanceof MeshpassError ? thrown : toMeshpassError(thrown);
    log('refused', { code: error.code, message: error.message });
    // The parts of the agent that have already started end along with this process.
    tell({ refused: { code: error.code, message: error.message } }, () => process.exit(1));
  }
}
