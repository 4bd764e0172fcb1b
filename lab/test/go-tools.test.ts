import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { buildGoTools } from '../src/install/go.ts';

/** Compiles nothing: the real builds take minutes, and run on a machine that has none yet. */
const GO = `#!/bin/sh
if [ "$1" = list ]; then
  [ "$2" = -m ] && echo "$TEST_SOURCES"
  exit 0
fi
while [ $# -gt 0 ]; do
  [ "$1" = -o ] && output="$2"
  shift
done
case "$output" in */) output="\${output}tool" ;; esac
touch "$output"
`;

let folder: string;
const before = { PATH: process.env.PATH, TEST_SOURCES: process.env.TEST_SOURCES };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-go-'));
  writeFileSync(join(folder, 'go'), GO, { mode: 0o755 });
  for (const path of ['tools/packaging/common', 'manifests/charts/base/files'])
    mkdirSync(join(folder, path), { recursive: true });
  writeFileSync(join(folder, 'tools/packaging/common/envoy_bootstrap.json'), '{}');
  writeFileSync(join(folder, 'manifests/charts/base/files/crd-all.gen.yaml'), 'kind: CustomResourceDefinition\n');
  process.env.PATH = `${folder}${delimiter}${process.env.PATH}`;
  process.env.TEST_SOURCES = folder;
});
afterEach(() => {
  for (const [name, value] of Object.entries(before)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(folder, { recursive: true });
});

it('builds every tool on a machine that has none: etcd first, then the others', async () => {
  const steps: string[] = [];
  const tools = await buildGoTools(join(folder, 'cache'), (line) => steps.push(line));
  expect(steps.slice(0, 2)).toEqual([expect.stringMatching(/^building etcd v/), 'built etcd']);
  expect(steps.filter((step) => step.startsWith('built ')).sort()).toEqual([
    'built etcd',
    'built istio',
    'built kubernetes',
  ]);
  expect(existsSync(tools.etcd)).toBe(true);
  expect(existsSync(tools.istioCrds)).toBe(true);
  expect(Object.keys(tools.versions).sort()).toEqual(['etcd', 'istio', 'kubernetes']);
});
