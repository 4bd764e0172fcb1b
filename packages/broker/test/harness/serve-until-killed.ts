/** A whole broker in a process of its own, to be killed. It prints its address, and issues proofs for enrolment. */
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { startHarness } from './broker.ts';
import { grant } from './mesh.ts';

export interface Serving {
  readonly port: number;
  readonly dir: string;
  readonly ca: string;
  readonly clockAhead: number;
  readonly proofs: readonly string[];
}

const harness = await startHarness({ ownEngine: true });
harness.mesh.setAccess([grant('dev')]);
const proofs = await Promise.all(Array.from({ length: 400 }, (_, n) => harness.idp.prove(`user-${n}`)));
const { port } = harness.broker;
const ca = readFileSync(join(harness.dir, 'tls.crt'), 'utf8');
const serving: Serving = { port, dir: harness.dir, ca, clockAhead: harness.clockAhead, proofs };
writeSync(1, `${JSON.stringify(serving)}\n`);
