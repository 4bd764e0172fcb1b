import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

it('the Node.js of this repository has the digest that the executables are made with', () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    readonly devDependencies: Readonly<Record<string, string>>;
  };
  const digests = readFileSync(join(ROOT, 'lab/node.sha256'), 'utf8');
  expect(digests).toContain(`@${devDependencies.node}:`);
  expect(digests.match(/^[0-9a-f]{64} {2}linux-(x64|arm64)$/gm)).toHaveLength(2);
  // Where it is another one, this ends with an error.
  expect(execFileSync('sh', ['lab/prepare-node.sh'], { cwd: ROOT, encoding: 'utf8' })).toBe('');
});
