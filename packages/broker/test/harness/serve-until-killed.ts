/** A whole broker in a process of its own, to be killed. Says where it is, and gives proofs to enrol with. */
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { startRig } from './broker.ts';
import { grant } from './mesh.ts';

export interface Serving {
  readonly port: number;
  readonly dir: string;
  readonly ca: string;
  readonly clockAhead: number;
  readonly proofs: readonly string[];
}

const rig = await startRig();
rig.mesh.setAccess([grant('dev')]);
const proofs = await Promise.all(Array.from({ length: 400 }, (_, n) => rig.idp.prove(`user-${n}`)));
const { port } = rig.broker;
const ca = readFileSync(join(rig.dir, 'tls.crt'), 'utf8');
const serving: Serving = { port, dir: rig.dir, ca, clockAhead: rig.clockAhead, proofs };
writeSync(1, `${JSON.stringify(serving)}\n`);
