/** Lab-only features have an alarming name, and no way into the product. */
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const sources = globSync('packages/*/src/**/*.{ts,tsx}', { cwd: ROOT });
const mentioning = (pattern: RegExp) => sources.filter((file) => pattern.test(read(file)));

it('no file of the product mentions sabotage, or reads how to be sabotaged', () => {
  expect(sources.length).toBeGreaterThan(300);
  expect(mentioning(/sabotag|break.?revocation|broken.?step|shall.?keep.?working/i)).toEqual([]);
});

it('no file of the product reads a variable of the lab, or imports it', () => {
  expect(mentioning(/MESHPASS_LAB|@meshpass\/lab|\/lab\//)).toEqual([]);
  for (const file of globSync('packages/*/package.json', { cwd: ROOT })) expect(read(file)).not.toContain('/lab');
});

it('the only lab feature of `meshpass` is a flag whose name warns', () => {
  const found = (pattern: RegExp) =>
    new Set(
      sources.filter((file) => file.startsWith('packages/cli/')).flatMap((file) => read(file).match(pattern) ?? []),
    );
  expect(found(/\blabOnly\w+/g)).toEqual(new Set(['labOnlySendGithubTokensTo', 'labOnlyForwardingHost']));
});

it('the sabotaged broker starts only with a step to sabotage', () => {
  const script = join(ROOT, 'lab/src/broker/sabotaged-broker.ts');
  const { status, stderr } = spawnSync(process.execPath, [script, 'serve', '--help'], { encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toContain('must be one of edges, renewal, deny, serviceaccount, not "serve"');
});
