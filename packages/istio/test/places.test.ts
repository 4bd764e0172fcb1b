/** Positions of objects are found without parsing the same text again and again. */
import { expect, test, vi } from 'vitest';
import { loadManifests } from '../src/index.ts';

const { parses } = vi.hoisted(() => ({ parses: { count: 0 } }));
vi.mock('js-yaml', async (original) => {
  const library = await original<typeof import('js-yaml')>();
  const parseEvents: typeof library.parseEvents = (...given) => {
    parses.count++;
    return library.parseEvents(...given);
  };
  return { ...library, parseEvents };
});

const documents = Array.from(
  { length: 50 },
  (_, index) => `apiVersion: v1\nkind: Service\nmetadata:\n  name: orders-${index}\nspec: {}\n`,
);

test('parses each document once more for its places, in whatever order they are queried', () => {
  const { resources } = loadManifests(documents.join('---\n'), 'services.yaml');
  const [gateway, ...routes] = resources;
  parses.count = 0;
  for (let round = 0; round < 3; round++) {
    for (const route of routes) {
      gateway!.origin.at(['metadata', 'name']);
      route.origin.at(['metadata', 'name']);
    }
  }
  expect(parses.count).toBe(documents.length);
});

test('finds line and column of each object', () => {
  const { resources } = loadManifests(documents.join('---\n'), 'services.yaml');
  for (const [index, { origin }] of resources.entries()) {
    expect(origin.at(['metadata', 'name'])).toEqual({ file: 'services.yaml', line: index * 6 + 4, column: 9 });
    expect(origin.at([])).toEqual({ file: 'services.yaml', line: index * 6 + 1, column: 1 });
  }
});

test('keeps no more indexes than fit in memory', () => {
  const padding = `# ${'x'.repeat(300_000)}\n`;
  const { resources } = loadManifests(documents.slice(0, 6).join(`---\n${padding}`), 'large.yaml');
  parses.count = 0;
  for (let round = 0; round < 2; round++) for (const { origin } of resources) origin.at(['metadata', 'name']);
  expect(parses.count).toBeGreaterThan(resources.length);
});
