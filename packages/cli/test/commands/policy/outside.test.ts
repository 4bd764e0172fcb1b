/** What `policy diff` prints about callers from outside, in text and JSON, and its exit codes. */
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';

const HOME = fileURLToPath(new URL('./examples/migration/', import.meta.url));
const [BEFORE, AFTER] = [`${HOME}before.yaml`, `${HOME}after.yaml`];

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function diff(...argv: readonly string[]) {
  process.exitCode = undefined;
  let out = '';
  vi.spyOn(console, 'log').mockImplementation((text: unknown) => {
    out += `${text}\n`;
  });
  const code = await run(['node', 'meshpass', 'policy', 'diff', ...argv]);
  return { code, out };
}

it('prints policies and outside callers under headings, and counts both as differences', async () => {
  const { code, out } = await diff(BEFORE, AFTER, '--exit-code');
  expect(out).toMatch(/^What policies at workloads allow:$/m);
  expect(out).toMatch(/^What anonymous callers from outside reach:$/m);
  expect(out).toContain('for example POST https://shop.example.com/admin');
  expect(code).toBe(1);
});

it('lists changes in JSON with their witness and places', async () => {
  const { code, out } = await diff(BEFORE, AFTER, '--output', 'json');
  expect(JSON.parse(out)).toMatchObject({
    changes: [],
    outside: {
      equivalent: false,
      more: false,
      destinations: 2,
      unknown: [],
      changes: [
        {
          kind: 'gains',
          destination: 'admin.shop.svc.cluster.local:80',
          witness: { method: 'POST', url: 'https://shop.example.com/admin', headers: {} },
          before: { reached: false, file: BEFORE, line: 18 },
          after: { reached: true, file: AFTER, line: 18 },
        },
        { kind: 'loses', before: { reached: true }, after: { reached: false } },
      ],
    },
  });
  expect(code).toBe(0);
});

it('lists changes at workloads in JSON with the documented members', async () => {
  const examples = fileURLToPath(new URL('./examples/', import.meta.url));
  const states = [`${examples}before.yaml`, `${examples}after.yaml`];
  const { out } = await diff('--context', `${examples}services.yaml`, ...states, '--output', 'json');
  const { changes } = JSON.parse(out) as { readonly changes: readonly object[] };
  expect(changes.length).toBeGreaterThan(0);
  for (const one of changes) {
    expect(Object.keys(one).sort()).toEqual(['after', 'before', 'circumstances', 'kind', 'what', 'where', 'who']);
  }
});

it('finds a state equivalent to itself', async () => {
  const { code, out } = await diff(AFTER, AFTER, '--exit-code');
  expect(out).toContain('Equivalent: 2 destinations were compared.');
  expect(code).toBe(0);
});

it('exits with 4 if the change of a destination is not known', async () => {
  const { code, out } = await diff(`${HOME}only-route.yaml`, AFTER);
  expect(out).toContain('the listeners of Gateway istio-ingress/public (not among these files) are not known');
  expect(code).toBe(4);
});

it('prints what opens, closes and is unknown as code blocks in Markdown', async () => {
  const { code, out } = await diff(BEFORE, AFTER, '--output', 'markdown');
  expect(out).toMatch(
    /^\*\*1 opened, 1 closed, 0 unknown\*\*: 6 ports and 2 destinations of calls from outside were compared\.$/m,
  );
  expect(out).toMatch(/^#### Opens\n\n```text\nanyone outside gains POST \/admin of shop\.example\.com/m);
  expect(out).toMatch(/^#### Closes\n\n```text\nanyone outside loses POST \/admin/m);
  expect(out).not.toContain('#### Unknown');
  expect(code).toBe(0);
  const same = await diff(AFTER, AFTER, '--output', 'markdown');
  expect(same.out).toMatch(/^\*\*0 opened, 0 closed, 0 unknown\*\*/);
});
