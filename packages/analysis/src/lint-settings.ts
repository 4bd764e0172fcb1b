/**
 * Reads the linter's settings and baseline. This is a separate entry point because the parser takes a while to load.
 */
export { readBaseline, readLintSettings } from './lint/settings/read-settings.ts';
