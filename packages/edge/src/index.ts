export * from './directory.ts';
export * from './follow.ts';
export * from './limits.ts';
export * from './listen.ts';
export * from './log.ts';
export * from './post-decisions.ts';
export * from './stats.ts';
