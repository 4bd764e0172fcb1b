export { type AgentConfig, agentConfig } from './control/config.ts';
export { askAgent, runtimeDirectory } from './control/control.ts';
export type { AgentStatus, ServiceStatus } from './control/status.ts';
export { runUntilSignal } from './process/daemon.ts';
export { down } from './process/down.ts';
export { launch } from './process/launch.ts';
export { exportLines } from './proxy/environment.ts';
export { type RunningAgent, runAgent } from './run-agent.ts';
export { discover } from './session/discover.ts';
