import manifest from '../package.json' with { type: 'json' };

/** Version of all Meshpass packages, from package.json. */
export const VERSION: string = manifest.version;
