/** A release replaces nothing: the scripts that publish image, chart and Feature, with skopeo and Helm, against a registry that is played. */
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensureContainerTools } from '@meshpass/lab/install/debian';
import { ensureHelm } from '@meshpass/lab/install/tools';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { archive, writeLayer } from '../../deploy/image/layer.ts';
import { blobsOf, type Descriptor, nameLayout, writeImage, writeIndex } from '../../deploy/image/oci.ts';
import { type PlayedRegistry, playRegistry } from './registry.ts';

const DEPLOY = fileURLToPath(new URL('../../deploy', import.meta.url));

let work: string;
let registry: PlayedRegistry;
beforeEach(async () => {
  await ensureContainerTools(() => undefined);
  work = mkdtempSync(join(tmpdir(), 'meshpass-publish-'));
  registry = await playRegistry(work);
  // Signing needs Sigstore; the stand-in records the digests to sign.
  mkdirSync(join(work, 'bin'));
  const command = (name: string, body: string) => {
    writeFileSync(join(work, 'bin', name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(work, 'bin', name), 0o755);
  };
  command('cosign', `echo "$@" >> '${work}/signed'`);
  // The registry speaks no TLS.
  command('helm', `exec '${await ensureHelm(() => undefined)}' "$@" --plain-http`);
});
afterEach(() => {
  registry.close();
  rmSync(work, { recursive: true, force: true });
});

async function run(script: string, ...argv: readonly string[]): Promise<string> {
  const env = { ...process.env, ...registry.env, PATH: `${work}/bin:${process.env.PATH}` };
  const { stdout } = await promisify(execFile)('sh', [join(DEPLOY, script), ...argv], { env });
  return stdout.trim();
}

/** An image of one file. */
function imageOf(layout: string, text: string, architecture: 'amd64' | 'arm64'): Descriptor {
  const root = mkdtempSync(join(work, 'root-'));
  writeFileSync(join(root, 'text'), text);
  mkdirSync(blobsOf(layout), { recursive: true });
  const layers = [{ layer: writeLayer(root, blobsOf(layout), work), createdBy: 'test' }];
  const config = {
    user: '1',
    entrypoint: ['/text'],
    env: [],
    workingDir: '/',
    labels: {},
    created: '2026-01-01T00:00:00Z',
  };
  return writeImage(layout, architecture, layers, config);
}

describe('the image', () => {
  /** @returns folder as `npm run build:image` writes it */
  function built(text: string, version: string): string {
    const folder = mkdtempSync(join(work, 'image-'));
    const layout = join(folder, 'layout');
    const images = (['amd64', 'arm64'] as const).map((architecture) => imageOf(layout, text, architecture));
    nameLayout(layout, writeIndex(layout, images, {}), `example.com/meshpass:${version}`);
    archive(layout, join(folder, 'meshpass-linux.oci.tar'));
    for (const [index, arch] of ['x64', 'arm64'].entries()) {
      const hashes = [{ content: images[index]!.digest.slice('sha256:'.length) }];
      writeFileSync(
        join(folder, `meshpass-linux-${arch}.cdx.json`),
        JSON.stringify({ metadata: { component: { hashes } } }),
      );
    }
    return folder;
  }
  const publish = (folder: string, version: string) =>
    run('image/publish.sh', folder, `${registry.host}/meshpass`, version);

  it('is pushed and signed by its digest, once, and continues after an interruption', async () => {
    const folder = built('one', '0.1.0');
    const digest = await publish(folder, '0.1.0');
    expect(registry.tags()).toEqual({ 'meshpass:0.1.0': digest });
    expect(readFileSync(join(work, 'signed'), 'utf8')).toContain(`${registry.host}/meshpass@${digest}`);
    expect(await publish(folder, '0.1.0')).toBe(digest);
  });

  it('of a published version with other bytes is refused, before anything is pushed or signed', async () => {
    const digest = await publish(built('one', '0.1.0'), '0.1.0');
    const signed = readFileSync(join(work, 'signed'), 'utf8');
    await expect(publish(built('another', '0.1.0'), '0.1.0')).rejects.toThrow(
      `0.1.0 is published already, as ${digest}, and is not replaced by sha256:`,
    );
    expect(registry.tags()).toEqual({ 'meshpass:0.1.0': digest });
    expect(readFileSync(join(work, 'signed'), 'utf8')).toBe(signed);
  });

  it('is not pushed where the registry does not say what it has', async () => {
    registry.broken = 503;
    await expect(publish(built('one', '0.1.0'), '0.1.0')).rejects.toThrow('503');
    expect(registry.tags()).toEqual({});
  });
});

describe('the chart', () => {
  function packed(version: string, description: string): string {
    const folder = mkdtempSync(join(work, 'chart-'));
    mkdirSync(join(folder, 'meshpass'));
    const chart = `apiVersion: v2\nname: meshpass\nversion: ${version}\ndescription: ${description}\n`;
    writeFileSync(join(folder, 'meshpass/Chart.yaml'), chart);
    execFileSync('tar', ['-czf', join(folder, 'helm-chart.tar.gz'), '-C', folder, 'meshpass']);
    return join(folder, 'helm-chart.tar.gz');
  }
  const publish = (file: string, version: string) =>
    run('helm/publish.sh', file, `${registry.host}/charts/meshpass`, version);
  const signed = () => readFileSync(join(work, 'signed'), 'utf8').trim().split('\n');

  it('is pushed once, and signed again if the previous run stopped', async () => {
    const file = packed('0.1.0', 'one');
    const digest = await publish(file, '0.1.0');
    expect(registry.tags()).toEqual({ 'charts/meshpass:0.1.0': digest });
    expect(await publish(file, '0.1.0')).toBe(digest);
    expect(registry.tags()).toEqual({ 'charts/meshpass:0.1.0': digest });
    const line = `sign --yes ${registry.host}/charts/meshpass@${digest}`;
    expect(signed()).toEqual([line, line]);
  });

  it('of a published version with other content is refused, before it is pushed or signed', async () => {
    const digest = await publish(packed('0.1.0', 'one'), '0.1.0');
    await expect(publish(packed('0.1.0', 'another'), '0.1.0')).rejects.toThrow('is published already, as sha256:');
    expect(registry.tags()).toEqual({ 'charts/meshpass:0.1.0': digest });
    expect(signed()).toHaveLength(1);
  });

  it('is not pushed where the registry does not say what it has', async () => {
    registry.broken = 503;
    await expect(publish(packed('0.1.0', 'one'), '0.1.0')).rejects.toThrow('503');
    expect(registry.tags()).toEqual({});
  });
});

describe('the Feature', () => {
  /** @returns layout with a feature and a collection */
  function layoutOf(version: string): string {
    const layout = mkdtempSync(join(work, 'feature-'));
    const manifests = ['feature', 'collection'].map((name) => ({
      ...imageOf(layout, `${name} ${version}`, 'amd64'),
      annotations: { 'org.opencontainers.image.ref.name': name },
    }));
    writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
    writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
    return layout;
  }
  const publish = (version: string, layout = layoutOf(version)) =>
    run('feature/publish.sh', layout, `${registry.host}/features`, version);
  const of = (tag: string) => registry.tags()[`features/meshpass:${tag}`];

  it('moves the tags that follow it forward, and not back for a fix of an older version', async () => {
    for (const version of ['0.9.0', '0.10.0', '1.0.0', '0.9.1']) await publish(version);
    expect([of('latest'), of('1.0'), of('1')]).toEqual([of('1.0.0'), of('1.0.0'), of('1.0.0')]);
    // By number, not by letter; and the fix is the newest of its own minor version.
    expect([of('0'), of('0.10'), of('0.9')]).toEqual([of('0.10.0'), of('0.10.0'), of('0.9.1')]);
    const collection = registry.tags()['features:latest'];
    await publish('0.9.2');
    expect(registry.tags()['features:latest']).toBe(collection);
  });

  it('that was pushed without its tags gets them from the next run', async () => {
    const layout = layoutOf('0.1.0');
    await publish('0.1.0', layout);
    const before = registry.tags();
    registry.forget('features/meshpass:latest');
    await publish('0.1.0', layout);
    expect(registry.tags()).toEqual(before);
  });

  it('of a published version with other bytes is refused, and no tag moves', async () => {
    await publish('0.1.0');
    const before = registry.tags();
    await expect(publish('0.1.0', layoutOf('another'))).rejects.toThrow(
      '0.1.0 is published already, and is not replaced',
    );
    expect(registry.tags()).toEqual(before);
  });
});
