/**
 * `npm run build:feature -- --archives FOLDER`: the devcontainer Feature with the digests of the archives in that folder, in
 * `dist/feature`. docs/releasing.md describes how the archives are made.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildFeature } from './feature.ts';

const { archives } = parseArgs({ options: { archives: { type: 'string', default: 'release' } } }).values;
const output = fileURLToPath(new URL('../../dist/feature', import.meta.url));
const glibc = buildFeature({ archives, arches: ['x64', 'arm64'], output });
console.log(
  `Built dist/feature; it requires glibc ${Object.entries(glibc)
    .map(([arch, version]) => `${version} (${arch})`)
    .join(', ')}`,
);
