/** The image's bill of materials, CycloneDX 1.6: every package in it, and for each file in it the package that it is of. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { BundledPackage } from '../npm/bundled-packages.ts';
import { type Files, OURS } from './contents.ts';
import type { DebianPackage } from './debian-packages.ts';
import type { Descriptor, OciArchitecture } from './oci.ts';

export interface Materials {
  /** `HOST/REPOSITORY`, without a tag. */
  readonly repository: string;
  readonly version: string;
  readonly architecture: OciArchitecture;
  readonly image: Descriptor;
  readonly created: string;
  readonly debian: readonly DebianPackage[];
  readonly npm: readonly BundledPackage[];
  readonly files: Files;
}

const NODE_DIGESTS = readFileSync(new URL('../../lab/node.sha256', import.meta.url), 'utf8');
/** Parts of `process.versions` that are not separate software. */
const NO_SOFTWARE = ['node', 'modules', 'napi', 'unicode', 'cldr', 'tz'];

/** @returns the document, the same for the same image */
export function sbomOf(materials: Materials): object {
  const { repository, version, architecture, image, created, debian, npm, files } = materials;
  const name = repository.slice(repository.lastIndexOf('/') + 1);
  const purl = `pkg:oci/${name}@${encodeURIComponent(image.digest)}?arch=${architecture}&repository_url=${repository}&tag=${version}`;
  const components = [
    { ...meshpass(version), ...occurrences(files, OURS) },
    nodejs(architecture),
    ...npm.map(npmPackage),
    ...debian.map((one) => ({ ...debianPackage(one, architecture), ...occurrences(files, one.name) })),
  ];
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(image.digest)}`,
    version: 1,
    metadata: {
      timestamp: created,
      component: {
        type: 'container',
        'bom-ref': purl,
        name: repository,
        version,
        purl,
        hashes: [{ alg: 'SHA-256', content: image.digest.slice('sha256:'.length) }],
      },
    },
    components,
    dependencies: [{ ref: purl, dependsOn: components.map((one) => one['bom-ref']) }],
  };
}

function meshpass(version: string) {
  const purl = `pkg:npm/%40meshpass/cli@${version}`;
  return { type: 'application', 'bom-ref': purl, name: '@meshpass/cli', version, purl, ...licence('Apache-2.0') };
}

function nodejs(architecture: OciArchitecture) {
  const { node } = process.versions;
  const platform = architecture === 'amd64' ? 'linux-x64' : 'linux-arm64';
  const [, sha256] = new RegExp(`^([0-9a-f]{64}) {2}${platform}$`, 'm').exec(NODE_DIGESTS)!;
  const purl = `pkg:npm/node-${platform}@${node}`;
  const within = Object.entries(process.versions).filter(([name]) => !NO_SOFTWARE.includes(name));
  return {
    type: 'platform',
    'bom-ref': purl,
    name: 'Node.js',
    version: node,
    purl,
    cpe: `cpe:2.3:a:nodejs:node.js:${node}:*:*:*:*:*:*:*`,
    ...licence('MIT'),
    hashes: [{ alg: 'SHA-256', content: sha256! }],
    components: within.map(([name, version]) => ({
      type: 'library',
      'bom-ref': `${purl}#${name}`,
      name,
      version: version!,
    })),
  };
}

function npmPackage({ name, version, license, sha512 }: BundledPackage) {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  const hashes = [{ alg: 'SHA-512', content: sha512 }];
  return { type: 'library', 'bom-ref': purl, name, version, purl, ...licence(license), hashes };
}

function debianPackage({ name, version, architecture, sha256 }: DebianPackage, image: OciArchitecture) {
  const arch = architecture === 'all' ? 'all' : image;
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${arch}&distro=debian-13`;
  // The copyright file of the package, which is in the image, has its licences.
  return { type: 'library', 'bom-ref': purl, name, version, purl, hashes: [{ alg: 'SHA-256', content: sha256 }] };
}

function licence(expression: string) {
  return { licenses: [{ expression }] };
}

function occurrences(files: Files, owner: string) {
  const paths = [...files].filter(([, name]) => name === owner).map(([path]) => ({ location: `/${path}` }));
  return { evidence: { occurrences: paths } };
}

/** Version 8 of RFC 9562: the bits are the digest's. */
function uuidOf(digest: string): string {
  const bytes = createHash('sha256').update(digest).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
