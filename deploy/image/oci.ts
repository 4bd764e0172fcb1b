/** An image by the OCI's specifications (image-spec 1.1): configuration, manifest, index and layout. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Blob, digestOf, type Layer } from './layer.ts';

/** Names of processors in Go and the OCI. */
export type OciArchitecture = 'amd64' | 'arm64';

export interface ImageConfig {
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly labels: Readonly<Record<string, string>>;
  /** RFC 3339 */
  readonly created: string;
}

export interface Descriptor extends Blob {
  readonly mediaType: string;
  readonly platform?: { readonly architecture: OciArchitecture; readonly os: 'linux' };
  readonly annotations?: Readonly<Record<string, string>>;
}

const MEDIA_TYPE = 'application/vnd.oci.image';

/**
 * Writes configuration and manifest of an image.
 * @param layers each with what made it, the lowest first
 */
export function writeImage(
  layout: string,
  architecture: OciArchitecture,
  layers: readonly { readonly layer: Layer; readonly createdBy: string }[],
  { user, entrypoint, env, workingDir, labels, created }: ImageConfig,
): Descriptor {
  const config = writeJson(layout, `${MEDIA_TYPE}.config.v1+json`, {
    architecture,
    os: 'linux',
    created,
    config: {
      User: user,
      Env: env,
      Entrypoint: entrypoint,
      WorkingDir: workingDir,
      Labels: labels,
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ layer }) => layer.diffId) },
    history: layers.map(({ createdBy }) => ({ created, created_by: createdBy })),
  });
  const manifest = writeJson(layout, `${MEDIA_TYPE}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${MEDIA_TYPE}.manifest.v1+json`,
    config,
    layers: layers.map(({ layer: { digest, size } }) => ({
      mediaType: `${MEDIA_TYPE}.layer.v1.tar+gzip`,
      digest,
      size,
    })),
    annotations: labels,
  });
  return { ...manifest, platform: { architecture, os: 'linux' } };
}

/** Writes an index of one image for several processors. */
export function writeIndex(
  layout: string,
  manifests: readonly Descriptor[],
  annotations: Readonly<Record<string, string>>,
): Descriptor {
  const mediaType = `${MEDIA_TYPE}.index.v1+json`;
  return writeJson(layout, mediaType, { schemaVersion: 2, mediaType, manifests, annotations });
}

/**
 * Completes a layout with the one image that it holds.
 * @param name `HOST/REPOSITORY:TAG`; containerd and Docker import the image by this name
 */
export function nameLayout(layout: string, image: Descriptor, name: string): void {
  const tag = name.slice(name.lastIndexOf(':') + 1);
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tag };
  const index = {
    schemaVersion: 2,
    mediaType: `${MEDIA_TYPE}.index.v1+json`,
    manifests: [{ ...image, annotations }],
  };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
}

/** Stores a value as JSON among the blobs. */
export function writeJson(layout: string, mediaType: string, value: unknown): Descriptor {
  const bytes = Buffer.from(JSON.stringify(value));
  const digest = digestOf(bytes);
  mkdirSync(blobsOf(layout), { recursive: true });
  writeFileSync(join(blobsOf(layout), digest.slice('sha256:'.length)), bytes);
  return { mediaType, digest, size: bytes.length };
}

export function blobsOf(layout: string): string {
  return join(layout, 'blobs/sha256');
}
