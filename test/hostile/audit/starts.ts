/** Logs on which no broker may start: cut, changed, or unsigned. */
import { rmSync } from 'node:fs';
import { rowHash, type SealedRow } from '@meshpass/broker/audit/log/chain';
import { createLogTree } from '@meshpass/broker/audit/log/tree';
import type { HostileInput } from '../area.ts';
import { type AuditWorld, change, checkpointText, type Fresh, ROWS } from './world.ts';

type Input = HostileInput<AuditWorld>;
type Tamper = (world: AuditWorld, fresh: Fresh) => Promise<unknown> | unknown;

const CUT = [`delete from audit where seq > 6`, 'delete from audit_checkpoints where size > 6'];
const BEHIND = 'audit_log_behind';
const TAMPERED = 'audit_tampered';
const INVALID = 'audit_checkpoint_invalid';
const MISSING = 'audit_checkpoint_missing';

/** A broker starts on a log. */
function start(fault: string, code: string, tamper: Tamper, before: Tamper = () => {}): Input {
  const prepared = async (world: AuditWorld) => {
    const fresh = await world.fresh();
    await before(world, fresh);
    return fresh;
  };
  return {
    fault: `a broker starts on ${fault}`,
    code,
    control: async (world) => {
      await prepared(world);
      return await world.start();
    },
    attack: async (world) => {
      await tamper(world, await prepared(world));
      return await world.start();
    },
  };
}

const everywhere = (edit: (text: string) => string): Tamper => {
  return ({ places }) => places.forEach((place) => void change(place, edit));
};
const nowhere: Tamper = ({ places }) => places.forEach((place) => void rmSync(place));
/** Checkpoint over the first existing rows. */
async function textOver({ sql, key }: AuditWorld, size: number, origin = key.origin, line = ''): Promise<string> {
  const rows = await sql(`select hash from audit where seq <= ${size} order by seq`);
  const tree = createLogTree();
  for (const { hash } of rows) tree.append(String(hash));
  return checkpointText(origin, size, tree.root(), line);
}
/** Recomputes all hashes from a row on, as a skilled attacker would. */
async function rehash({ sql }: AuditWorld, from: number): Promise<void> {
  let previous = '0'.repeat(64);
  for (const row of await sql('select * from audit order by seq')) {
    const seq = Number(row.seq);
    const sealed = { ...row, seq, time: (row.time as Date).toISOString(), previous } as unknown as SealedRow;
    const hash = rowHash(sealed);
    if (seq >= from) await sql(`update audit set hash = '${hash}', previous = '${previous}' where seq = ${seq}`);
    previous = hash;
  }
}
const MALLORY = `update audit set subject = 'mallory' where seq = 10`;

const EXCHANGE = [
  'update audit set seq = 100 where seq = 9',
  'update audit set seq = 9 where seq = 10',
  'update audit set seq = 10 where seq = 100',
];

export const STARTS: Input[] = [
  start('a log without its last row', BEHIND, ({ sql }) => sql(`delete from audit where seq = ${ROWS}`)),
  start('a log whose end was cut off, with the checkpoints of the store', BEHIND, ({ sql }) => sql(...CUT)),
  start('a log that was emptied', BEHIND, ({ sql }) => sql('truncate audit, audit_checkpoints')),
  start('a log that was cut back to a checkpoint of the store', BEHIND, ({ sql }) =>
    sql('delete from audit where seq > 8', 'delete from audit_checkpoints where size > 8'),
  ),
  start('a log whose checkpoint is gone', MISSING, nowhere),
  start('a log that was cut, and its checkpoint is gone', MISSING, async (world, fresh) => {
    await world.sql(...CUT);
    await nowhere(world, fresh);
  }),
  start('an empty log in a store that was in use, and the checkpoint is gone', MISSING, async (world, fresh) => {
    await world.sql(
      'truncate audit, audit_checkpoints',
      `insert into audit_cuts values (4, '${'0'.repeat(64)}', '[]', 'x', now())`,
    );
    await nowhere(world, fresh);
  }),
  start(
    'a checkpoint of no bytes',
    INVALID,
    everywhere(() => ''),
  ),
  start(
    'half a checkpoint',
    INVALID,
    everywhere((text) => text.slice(0, text.length / 2)),
  ),
  start(
    'a checkpoint of 70,000 bytes',
    INVALID,
    everywhere((text) => text + 'x'.repeat(70_000)),
  ),
  start(
    'a checkpoint with another signature',
    INVALID,
    everywhere((text) => text.replace(/.{8}=*\n$/, 'AAAAAAAA\n')),
  ),
  start('a checkpoint whose size was lowered to the cut', INVALID, async (world, fresh) => {
    await world.sql(...CUT);
    await everywhere((text) => text.replace(`\n${ROWS}\n`, '\n6\n'))(world, fresh);
  }),
  start('a checkpoint with the root of what is left, under the old signature', INVALID, async (world, fresh) => {
    await world.sql(...CUT);
    const text = await textOver(world, 6);
    await everywhere((note) => text + note.slice(note.indexOf('\n\n') + 1))(world, fresh);
  }),
  start('a checkpoint that another key signed under the same name', INVALID, async (world, fresh) => {
    await world.sql(...CUT);
    const note = world.forge(await textOver(world, 6));
    await everywhere(() => note)(world, fresh);
  }),
  start('the checkpoint of another broker', INVALID, async (world, fresh) => {
    const note = world.sign(await textOver(world, ROWS, 'other.example/audit'));
    await everywhere(() => note)(world, fresh);
  }),
  start('the checkpoint of an epoch with a name that is none', INVALID, async (world, fresh) => {
    const note = world.sign(await textOver(world, ROWS, `${world.key.origin}/02`));
    await everywhere(() => note)(world, fresh);
  }),
  start('the record of a pruning instead of a checkpoint', INVALID, async (world, fresh) => {
    const note = world.sign(await textOver(world, ROWS, undefined, 'meshpass.dev/pruned-up-to-here\n'));
    await everywhere(() => note)(world, fresh);
  }),
  start('one damaged checkpoint beside a good one', INVALID, ({ places }) => change(places[1], () => 'nothing')),
  start(
    'an old checkpoint in one of two places, and a log cut back to it',
    BEHIND,
    async ({ sql, places }, { notes }) => {
      await sql('delete from audit where seq > 8', 'delete from audit_checkpoints where size > 8');
      change(places[0], () => notes.get(8)!);
    },
  ),
  start('one checkpoint where there were two, and a log that was cut', BEHIND, async ({ sql, places }) => {
    await sql(...CUT);
    rmSync(places[0]);
  }),
  start('a row that was changed', TAMPERED, ({ sql }) => sql(MALLORY)),
  start('a row of another time', TAMPERED, ({ sql }) =>
    sql(`update audit set time = time + interval '1 hour' where seq = 10`),
  ),
  start('the last row changed with its hash', TAMPERED, async (world) => {
    await world.sql(`update audit set subject = 'mallory' where seq = ${ROWS}`);
    await rehash(world, ROWS);
  }),
  start('all hashes recomputed from a row on', TAMPERED, async (world) => {
    await world.sql(MALLORY);
    await rehash(world, 10);
  }),
  start('all hashes recomputed, without the checkpoints of the store', TAMPERED, async (world) => {
    await world.sql(MALLORY, 'delete from audit_checkpoints');
    await rehash(world, 10);
  }),
  start('a log without a row of its middle', TAMPERED, ({ sql }) => sql('delete from audit where seq = 10')),
  start('a log without its first rows', TAMPERED, ({ sql }) =>
    sql('delete from audit where seq <= 2', 'delete from audit_checkpoints'),
  ),
  start('two rows that were exchanged', TAMPERED, ({ sql }) => sql(...EXCHANGE)),
  start('rows that were pruned by a checkpoint', TAMPERED, ({ sql }) =>
    sql('insert into audit_cuts select * from audit_checkpoints where size = 8', 'delete from audit where seq <= 8'),
  ),
  start('rows that were pruned by an attacker', TAMPERED, async (world) => {
    const note = world.forge(await textOver(world, 8, undefined, 'meshpass.dev/pruned-up-to-here\n'));
    await world.sql(
      `insert into audit_cuts select size, hash, peaks, '${note}', time from audit_checkpoints where size = 8`,
      'delete from audit where seq <= 8',
    );
  }),
  start('a restore that an attacker declared', TAMPERED, async (world) => {
    await world.sql(...CUT);
    const line = `meshpass.dev/restored ${world.key.origin} kept 5 agreed 4 signed ${ROWS}\n`;
    const note = world.forge(await textOver(world, 6, `${world.key.origin}/2`, line));
    await world.sql(`insert into audit_restores values (2, '${note}', now())`);
  }),
  start('a checkpoint instead of the record of a restore', TAMPERED, async ({ sql }, { notes }) => {
    await sql(...CUT, `insert into audit_restores values (2, '${notes.get(4)}', now())`);
  }),
  start(
    'a store from before a declared restore',
    BEHIND,
    ({ sql }) => sql('delete from audit where seq > 6', 'delete from audit_restores', 'delete from audit_checkpoints'),
    async (world) => {
      await world.sql(...CUT);
      await world.declare();
    },
  ),
  start(
    'a log that was cut after a restore that was declared',
    BEHIND,
    ({ sql }) => sql('delete from audit where seq > 6'),
    async (world) => {
      await world.sql(...CUT);
      await world.declare();
    },
  ),
];
