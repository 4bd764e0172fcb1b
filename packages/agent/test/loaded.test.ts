/** Modules that the agent process must not load, to save memory. */
import { execFile } from 'node:child_process';
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const SOURCES = fileURLToPath(new URL('../src/', import.meta.url));

test("loads the web's fetch in no module of the agent, which would cost 14 MB in every workspace", async () => {
  const modules = globSync('**/*.ts', { cwd: SOURCES }).filter((file) => file !== 'process/daemon-main.ts');
  expect(modules.length).toBeGreaterThan(40);
  const script = `
    for (const file of ${JSON.stringify(modules)}) await import(${JSON.stringify(SOURCES)} + file);
    console.log(process.moduleLoadList.filter((name) => name.includes('undici')).join());
    process.exit();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
  expect(stdout.trim()).toBe('');
});
