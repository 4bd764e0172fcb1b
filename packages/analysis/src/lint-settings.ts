/** Reads the linter's settings and baseline. Apart from the linter, because the parser takes longer to load. */
export { readBaseline, readLintSettings } from './lint/settings/read-settings.ts';
