import manifest from '../package.json' with { type: 'json' };

/** The version that all packages of Meshpass share: the one in their package.json. */
export const VERSION: string = manifest.version;
