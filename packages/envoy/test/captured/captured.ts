/**
 * Responses of a real istiod with default flags for ../istiod/mesh.yaml, one resource per line (captured.mesh.test.ts
 * writes them with MESHPASS_WRITE_CAPTURED=1).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Captured } from '../relayed.ts';

const FILE = new URL('istiod.jsonl', import.meta.url);

export function captured(): Captured {
  const all = readFileSync(FILE, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JsonObject);
  const of = (type: string) => all.filter((resource) => `${resource['@type']}`.endsWith(`.${type}`));
  return { listeners: of('Listener'), clusters: of('Cluster'), routes: of('RouteConfiguration') };
}

export function writeCaptured({ listeners, clusters, routes }: Captured): void {
  writeFileSync(
    FILE,
    [...listeners, ...clusters, ...routes].map((resource) => `${JSON.stringify(resource)}\n`).join(''),
  );
}
