/**
 * The Feature and its collection as a registry holds them: an OCI layout, ready for `skopeo copy`
 * (containers.dev, "Dev Container Features distribution").
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { digestOf } from '../image/layer.ts';
import { blobsOf, type Descriptor, writeJson } from '../image/oci.ts';

/** devcontainer-feature.json, as far as it matters here. */
export interface Metadata {
  readonly id: string;
  readonly version: string;
}

const TYPE = 'application/vnd.devcontainers';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** Writes a layout with the manifests `feature` and `collection`. */
export function writeArtefacts(layout: string, metadata: Metadata, archive: string, collection: string): void {
  mkdirSync(blobsOf(layout), { recursive: true });
  const feature = writeArtefact(layout, archive, `${TYPE}.layer.v1+tar`, {
    'dev.containers.metadata': JSON.stringify(metadata),
    'com.github.package.type': 'devcontainer_feature',
    'org.opencontainers.image.source': 'https://github.com/meshpass/meshpass',
    'org.opencontainers.image.version': metadata.version,
  });
  const whole = writeArtefact(layout, collection, `${TYPE}.collection.layer.v1+json`, {
    'com.github.package.type': 'devcontainer_collection',
    'org.opencontainers.image.source': 'https://github.com/meshpass/meshpass',
  });
  const manifests = [named(feature, 'feature'), named(whole, 'collection')];
  const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
}

function writeArtefact(
  layout: string,
  file: string,
  mediaType: string,
  annotations: Readonly<Record<string, string>>,
): Descriptor {
  const bytes = readFileSync(file);
  const digest = digestOf(bytes);
  copyFileSync(file, join(blobsOf(layout), digest.slice('sha256:'.length)));
  const title = { 'org.opencontainers.image.title': basename(file) };
  return writeJson(layout, MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: writeJson(layout, TYPE, {}),
    layers: [{ mediaType, digest, size: bytes.length, annotations: title }],
    annotations,
  });
}

function named(descriptor: Descriptor, name: string): Descriptor {
  return { ...descriptor, annotations: { 'org.opencontainers.image.ref.name': name } };
}
