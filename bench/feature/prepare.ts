/** The devcontainer Feature with this repository's own executable as its release, served as GitHub would. */
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildFeature, type FeatureArch } from '../../deploy/feature/feature.ts';
import { buildExecutable } from '../executable.ts';

export interface PreparedFeature {
  /** Folder with install.sh. */
  readonly folder: string;
  /** Folder with everything that build:feature writes. */
  readonly output: string;
  /** Archive of the release that is served; a test may change it. */
  readonly archive: string;
  /** Base URL of its releases: the option `mirror`. */
  readonly mirror: string;
  readonly entrypoint: string;
  readonly postStartCommand: string;
  /** The oldest glibc that it needs. */
  readonly glibc: string;
  close(): void;
}

export async function prepareFeature(): Promise<PreparedFeature> {
  const arch = process.arch as FeatureArch;
  const executable = await buildExecutable(arch);
  const work = mkdtempSync(join(tmpdir(), 'meshpass-feature-'));
  const archives = join(work, 'release');
  mkdirSync(archives);
  const archive = join(archives, `meshpass-linux-${arch}.tar.gz`);
  // A copy: tar fails where another test links the file, or removes a link of it, while it reads.
  const name = `meshpass-linux-${arch}`;
  try {
    execFileSync('cp', ['--archive', '--reflink=auto', executable.home, work]);
  } finally {
    executable.remove();
  }
  execFileSync('tar', ['--use-compress-program=gzip -1', '-cf', archive, '-C', work, name]);
  rmSync(join(work, name), { recursive: true });
  const output = join(work, 'feature');
  const glibc = buildFeature({ archives, arches: [arch], output })[arch]!;
  const folder = join(output, 'meshpass');
  const metadata = JSON.parse(readFileSync(join(folder, 'devcontainer-feature.json'), 'utf8')) as {
    readonly version: string;
    readonly entrypoint: string;
    readonly postStartCommand: string;
  };
  const server = await serve(archives, `/v${metadata.version}/`);
  return {
    folder,
    output,
    archive,
    glibc,
    entrypoint: metadata.entrypoint,
    postStartCommand: metadata.postStartCommand,
    mirror: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      rmSync(work, { recursive: true, force: true });
    },
  };
}

async function serve(folder: string, prefix: string): Promise<Server> {
  const server = createServer((request, response) => {
    const path = join(folder, (request.url ?? '').slice(prefix.length));
    if (!request.url?.startsWith(prefix) || !existsSync(path)) return void response.writeHead(404).end();
    createReadStream(path).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
