export * from './broker/follow.ts';
export * from './broker/post-decisions.ts';
export * from './directory.ts';
export * from './limits.ts';
export * from './listener/listen.ts';
export * from './log.ts';
export * from './stats.ts';
