export * from './broker/client.ts';
export * from './broker/decision-queue.ts';
export * from './broker/follow.ts';
export type { ControlBroker } from './control/hub.ts';
export * from './directory.ts';
export * from './limits.ts';
export * from './listener/listen.ts';
export * from './log.ts';
export * from './stats.ts';
