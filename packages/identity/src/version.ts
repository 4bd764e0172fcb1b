import manifest from '../package.json' with { type: 'json' };

/** The version of all Meshpass packages, from package.json. */
export const VERSION: string = manifest.version;
