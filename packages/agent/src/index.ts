export { type AgentConfig, agentConfig } from './control/config.ts';
export { runtimeDirectory, sendControlRequest } from './control/control.ts';
export type { AgentStatus, ServiceStatus } from './control/status.ts';
export { runUntilSignal } from './process/daemon.ts';
export { down } from './process/down.ts';
export { launchAgent } from './process/launch.ts';
export { formatShellExports } from './proxy/environment.ts';
export { type RunningAgent, runAgent } from './run-agent.ts';
export { discoverProofSource } from './session/discover.ts';
