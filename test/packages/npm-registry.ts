/** A registry of npm packages, played in memory: what `npm view` and `npm publish` ask of one. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** Package document, as npm sends and receives it. */
export interface Packument {
  readonly 'dist-tags': Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, object>>;
  readonly _attachments?: Readonly<Record<string, { readonly data: string }>>;
}

export interface PlayedNpmRegistry {
  /** For npm. */
  readonly env: Readonly<Record<string, string>>;
  readonly packages: Map<string, Packument>;
  /** Answers 503 to clients that publish this package, while set; `*`: to every request. */
  broken: string | undefined;
  close(): void;
}

/** @param folder becomes the home of who runs npm */
export async function playNpmRegistry(folder: string): Promise<PlayedNpmRegistry> {
  const packages = new Map<string, Packument>();
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(join(folder, 'npmrc'), `//${host}/:_authToken=played\n`);
  const registry: PlayedNpmRegistry = {
    env: {
      HOME: folder,
      npm_config_registry: `http://${host}/`,
      npm_config_userconfig: join(folder, 'npmrc'),
      npm_config_cache: join(folder, 'cache'),
      npm_config_fetch_retries: '0',
      npm_config_update_notifier: 'false',
    },
    packages,
    broken: undefined,
    close: () => server.close(),
  };
  return registry;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await request.toArray());
    const name = decodeURIComponent(new URL(request.url!, `http://${host}`).pathname.slice(1));
    const send = (status: number, json: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    if (registry.broken === '*' || (registry.broken === name && request.method === 'PUT')) return void send(503, {});
    const there = packages.get(name);
    if (request.method !== 'PUT')
      return void (there ? send(200, { name, ...there }) : send(404, { error: 'Not found' }));
    const sent = JSON.parse(body.toString()) as Packument;
    const isThere = Object.keys(sent.versions).some((version) => there?.versions[version]);
    if (isThere) return void send(403, { error: 'You cannot publish over the previously published versions' });
    packages.set(name, {
      'dist-tags': { ...there?.['dist-tags'], ...sent['dist-tags'] },
      versions: { ...there?.versions, ...sent.versions },
      _attachments: { ...there?._attachments, ...sent._attachments },
    });
    send(201, { ok: true });
  }
}
