/** In-memory registry of images for the requests of skopeo (OCI Distribution Specification 1.1). */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface PlayedRegistry {
  /** `HOST:PORT`. */
  readonly host: string;
  /** For skopeo: it speaks no TLS. */
  readonly env: Readonly<Record<string, string>>;
  /** `REPOSITORY:TAG` -> digest. */
  tags(): Readonly<Record<string, string>>;
  /** Removes a tag (`REPOSITORY:TAG`), as if it had not been pushed. */
  forget(tag: string): void;
  /** Answers everything with this status, while set. */
  broken: number | undefined;
  close(): void;
}

interface Manifest {
  readonly type: string;
  readonly bytes: Buffer;
}

const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** @param folder home folder for skopeo, with its configuration */
export async function playRegistry(folder: string): Promise<PlayedRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, Manifest>();
  const uploads = new Map<string, Buffer>();
  const tags = new Map<string, string>();
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  mkdirSync(join(folder, '.config/containers'), { recursive: true });
  const configuration = `[[registry]]\nlocation = "${host}"\ninsecure = true\n`;
  writeFileSync(join(folder, '.config/containers/registries.conf'), configuration);
  const registry: PlayedRegistry = {
    host,
    env: { HOME: folder },
    broken: undefined,
    tags: () => Object.fromEntries([...tags].sort()),
    forget: (tag) => void tags.delete(tag),
    close: () => server.close(),
  };
  return registry;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await request.toArray());
    const { pathname: path, searchParams } = new URL(request.url!, `http://${host}`);
    const [, repository = '', kind, reference = ''] =
      /^\/v2\/(.+)\/(manifests|tags|blobs(?:\/uploads)?)\/(.*)$/.exec(path) ?? [];
    const has = (status: number, headers: Record<string, string | number> = {}) => response.writeHead(status, headers);
    const none = (code: string) => has(404).end(JSON.stringify({ errors: [{ code, message: 'not here' }] }));
    if (registry.broken) return void has(registry.broken).end();
    if (path === '/v2/') return void has(200).end();
    if (kind === 'tags') {
      const own = [...tags.keys()].filter((name) => name.startsWith(`${repository}:`));
      return void has(200).end(JSON.stringify({ name: repository, tags: own.map((name) => name.split(':')[1]) }));
    }
    if (kind === 'manifests' && request.method === 'PUT') {
      const digest = digestOf(body);
      manifests.set(`${repository}@${digest}`, { type: request.headers['content-type']!, bytes: body });
      if (!reference.startsWith('sha256:')) tags.set(`${repository}:${reference}`, digest);
      return void has(201, { 'docker-content-digest': digest }).end();
    }
    if (kind === 'manifests') {
      const digest = reference.startsWith('sha256:') ? reference : tags.get(`${repository}:${reference}`);
      const found = manifests.get(`${repository}@${digest}`);
      if (!found) return void none('MANIFEST_UNKNOWN');
      const { type, bytes } = found;
      const headers = { 'content-type': type, 'content-length': bytes.length, 'docker-content-digest': digest! };
      return void has(200, headers).end(request.method === 'HEAD' ? undefined : bytes);
    }
    if (kind === 'blobs/uploads') {
      const id = reference || `${uploads.size}`;
      uploads.set(id, Buffer.concat([uploads.get(id) ?? Buffer.alloc(0), body]));
      const digest = searchParams.get('digest');
      if (digest) blobs.set(digest, uploads.get(id)!);
      return void has(digest ? 201 : 202, { location: `/v2/${repository}/blobs/uploads/${id}` }).end();
    }
    const blob = blobs.get(reference);
    if (!blob) return void none('BLOB_UNKNOWN');
    has(200, { 'content-length': blob.length }).end(request.method === 'HEAD' ? undefined : blob);
  }
}
