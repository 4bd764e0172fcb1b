export { type AgentConfig, agentConfig } from './config.ts';
export { askAgent, runtimeDirectory } from './control.ts';
export { runUntilSignal } from './daemon.ts';
export { discover } from './discover.ts';
export { down } from './down.ts';
export { exportLines } from './env.ts';
export { launch } from './launch.ts';
export type { AgentStatus, ServiceStatus } from './status.ts';
export { type RunningAgent, runAgent } from './up.ts';
