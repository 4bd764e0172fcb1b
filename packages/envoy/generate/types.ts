/**
 * Generates src/generated/descriptors.ts from Envoy's API in Envoy's own Go module: `npm run generate -w
 * @meshpass/envoy`. Version and digests are in go.mod and go.sum. Needs Go.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const cwd = fileURLToPath(new URL('.', import.meta.url));
const descriptors = execFileSync('go', ['run', '.'], { cwd, maxBuffer: 64 * 1024 * 1024 });
const text = gzipSync(descriptors, { level: 9 }).toString('base64');
const lines = text.match(/.{1,128}/g)!.map((line) => `  '${line}',`);
writeFileSync(
  fileURLToPath(new URL('../src/generated/descriptors.ts', import.meta.url)),
  `// Written by \`npm run generate -w @meshpass/envoy\`: a google.protobuf.FileDescriptorSet, gzip, base64.\nexport const DESCRIPTORS = [\n${lines.join('\n')}\n].join('');\n`,
);
