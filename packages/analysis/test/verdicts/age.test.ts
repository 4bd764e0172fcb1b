/** The oldest of several objects decides, and a manifest that is not applied yet is the youngest, for every command. */

import { applyResources, oldestFirst, type Resource, withCreationTimes } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { differences, mayCall, ORDERS, read } from './commands.ts';

const peer = (name: string, mode: string, created?: string) => `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: shop${created === undefined ? '' : `, creationTimestamp: "${created}"`}}
spec: {mtls: {mode: ${mode}}}
`;
const LIVE = peer('live', 'STRICT', '2026-01-01T00:00:00Z');
const nobodyMay = (mesh: readonly Resource[]) => mayCall(mesh, '');

describe('a PeerAuthentication that is not applied yet, beside one that is', () => {
  const before = read(ORDERS + LIVE);
  const after = read(ORDERS + LIVE + peer('a', 'PERMISSIVE'));

  it('changes nothing, because the live one is older, whatever the names', () => {
    expect(nobodyMay(before)).toBe(false);
    expect(nobodyMay(after)).toBe(false);
    expect(differences(before, after)).toEqual([]);
  });
});

describe('a manifest of an existing object', () => {
  const before = read(ORDERS + LIVE + peer('other', 'PERMISSIVE', '2026-02-01T00:00:00Z'));
  const manifest = read(peer('live', 'STRICT'));
  const after = [...before.filter(({ metadata }) => metadata.name !== 'live'), ...manifest];

  it('keeps the age of that object', () => {
    expect(withCreationTimes(manifest, before).map(({ metadata }) => metadata.creationTimestamp)).toEqual([
      '2026-01-01T00:00:00Z',
    ]);
    expect(withCreationTimes(manifest, before)[0]!.origin.file).toBe('mesh.yaml');
    expect(nobodyMay(applyResources(before, manifest))).toBe(false);
    expect(differences(before, after)).toEqual([]);
  });
});

it('sorts by time, then name, then namespace, with missing or invalid times last', () => {
  const at = (name: string, namespace: string, creationTimestamp?: unknown) =>
    ({ metadata: { name, namespace, creationTimestamp } }) as { metadata: Resource['metadata'] };
  const sorted = oldestFirst([
    at('a', 'x'),
    at('a', 'b', 'no time'),
    at('b', 'x', '2026-01-01T00:00:00Z'),
    at('b', 'a', '2026-01-01T00:00:00Z'),
    at('a', 'a', null),
    at('c', 'a', '2025-12-31T23:59:59Z'),
    at('z', 'a', '2026-01-01T01:00:00+02:00'),
  ]);
  expect(sorted.map(({ metadata }) => `${metadata.name}/${metadata.namespace}`)).toEqual([
    ...['z/a', 'c/a', 'b/a', 'b/x'],
    ...['a/a', 'a/b', 'a/x'],
  ]);
});
