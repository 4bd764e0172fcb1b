/** Exported evidence that no verifier may accept. */
import { createNoteVerifier, type NoteVerifier } from '@meshpass/broker/audit/checkpoint/note';
import { readExport } from '@meshpass/broker/audit/export/export';
import { verifyExport } from '@meshpass/broker/audit/export/verify';
import { rowHash, type SealedRow } from '@meshpass/broker/audit/log/chain';
import { createLogTree } from '@meshpass/broker/audit/log/tree';
import type { HostileInput, Outcome } from '../area.ts';
import { type AuditWorld, checkpointText, type Evidence, ROWS } from './world.ts';

type Input = HostileInput<AuditWorld>;

interface Verified {
  readonly lines: readonly string[];
  readonly anchors?: readonly string[];
  readonly keys?: readonly NoteVerifier[];
}

async function verify({ lines, anchors = [], keys }: Verified): Promise<Outcome> {
  async function* each() {
    yield* lines;
  }
  const anchored = anchors.map((note, n) => ({ label: `Anchor ${n}`, note }));
  const report = await verifyExport(await readExport(each()), { anchored, ...(keys && { keys }) });
  return { accepted: report.ok, answer: report.problems.map(({ kind, message }) => `${kind}: ${message}`).join('; ') };
}

/** Verifies an export with a known key. */
function evidence(
  fault: string,
  code: string,
  tamper: (of: Evidence, world: AuditWorld) => Verified | Promise<Verified>,
  which: 'evidence' | 'restored' = 'evidence',
): Input {
  return {
    fault: `a verifier is given ${fault}`,
    code,
    control: ({ key, [which]: { lines, anchors } }) =>
      verify({ lines, anchors: [...anchors.values()], keys: key.verifiers }),
    attack: async (world) => await verify({ keys: world.key.verifiers, ...(await tamper(world[which], world)) }),
  };
}

const at = ({ lines }: Evidence, seq: number) => lines.findIndex((line) => line.includes(`"seq":${seq},`));
const edited = (of: Evidence, seq: number, edit: (row: SealedRow) => SealedRow) => ({
  lines: of.lines.with(at(of, seq), JSON.stringify(edit(JSON.parse(of.lines[at(of, seq)]!)))),
});
const withHeader = (of: Evidence, edit: (header: Record<string, unknown>) => object) => [
  JSON.stringify(edit(JSON.parse(of.lines[0]!))),
  ...of.lines.slice(1),
];
/** Recomputes all hashes of an export. */
function rehashed(lines: readonly string[]): string[] {
  let previous = '0'.repeat(64);
  return lines.map((line) => {
    const row = JSON.parse(line) as SealedRow;
    if (row.seq === undefined) return line;
    const next = { ...row, previous };
    previous = rowHash(next);
    return JSON.stringify({ ...next, hash: previous });
  });
}

export const EVIDENCE: Input[] = [
  evidence('an export without its last row', 'truncated', ({ lines }) => ({ lines: lines.slice(0, -1) })),
  evidence('an export without a row', 'removed', (of) => ({ lines: of.lines.toSpliced(at(of, 5), 1) })),
  evidence('an export with two rows exchanged', 'reordered', (of) => ({
    lines: of.lines.with(at(of, 5), of.lines[at(of, 6)]!).with(at(of, 6), of.lines[at(of, 5)]!),
  })),
  evidence('an export with a row twice', 'duplicated', (of) => ({ lines: [...of.lines, of.lines.at(-1)!] })),
  evidence('a row with another subject', 'changed', (of) => edited(of, 5, (row) => ({ ...row, subject: 'mallory' }))),
  evidence('a row with a member too many', 'unreadable', (of) =>
    edited(of, 5, (row) => ({ ...row, more: 1 }) as SealedRow),
  ),
  evidence('a row with a new hash', 'replaced', (of) =>
    edited(of, 5, (row) => ({ ...row, subject: 'mallory', hash: rowHash({ ...row, subject: 'mallory' }) })),
  ),
  evidence('rows whose hashes were all recomputed', 'rewritten', (of) => ({
    lines: rehashed(edited(of, 5, (row) => ({ ...row, subject: 'mallory' })).lines),
  })),
  evidence('a row that was added at the end', 'added', (of) => {
    const last = JSON.parse(of.lines.at(-1)!) as SealedRow;
    const next = { ...last, seq: last.seq + 1, previous: last.hash, id: 'another' };
    return { lines: [...of.lines, JSON.stringify({ ...next, hash: rowHash(next) })] };
  }),
  evidence('an older checkpoint than the rows', 'added', (of) => ({
    lines: withHeader(of, (header) => ({ ...header, checkpoint: of.anchors.get(8) })),
  })),
  evidence('a checkpoint that its key did not sign', 'unsigned', (of) => ({
    lines: withHeader(of, (header) => ({
      ...header,
      checkpoint: String(header.checkpoint).replace('\n15\n', '\n14\n'),
    })),
  })),
  evidence('a log that was rewritten with another key', 'unsigned', async (of, { forge, key }) => {
    const rows = rehashed(edited(of, 5, (row) => ({ ...row, subject: 'mallory' })).lines).filter((line) =>
      line.includes('"seq":'),
    );
    const tree = createLogTree();
    for (const line of rows) tree.append((JSON.parse(line) as SealedRow).hash);
    const note = forge(checkpointText(key.origin, rows.length, tree.root()));
    const [header] = withHeader(of, (one) => ({ ...one, checkpoint: note }));
    return { lines: [header!, ...rows] };
  }),
  evidence('a checkpoint from elsewhere of more rows', 'truncated', async (of, { sign, key }) => ({
    lines: of.lines,
    anchors: [sign(checkpointText(key.origin, 40, 'ab'.repeat(32)))],
  })),
  evidence('a checkpoint from elsewhere of other rows', 'rewritten', async (of, { sign, key }) => ({
    lines: of.lines,
    anchors: [sign(checkpointText(key.origin, 6, 'ab'.repeat(32)))],
  })),
  evidence('the right rows, and the key of another', 'unsigned', (of, { key }) => {
    const name = createNoteVerifier('other.example/audit', key.verifiers[0].key);
    return { lines: of.lines, keys: [name] };
  }),
  evidence(
    'a declared restore without its record',
    'restore',
    (of) => ({
      lines: withHeader(of, (header) => ({ ...header, restores: [] })),
    }),
    'restored',
  ),
  evidence(
    'a declared restore that explains more than it was signed for',
    'restore',
    (of) => ({
      lines: withHeader(of, (header) => ({
        ...header,
        restores: (header.restores as string[]).map((note) => note.replace(`signed ${ROWS}`, 'signed 99')),
      })),
    }),
    'restored',
  ),
  evidence(
    'a checkpoint from before the restore as the last one',
    'a different log',
    (of) => ({
      lines: withHeader(of, (header) => ({ ...header, checkpoint: of.anchors.get(ROWS) })).slice(0, -2),
    }),
    'restored',
  ),
  evidence(
    'a checkpoint of more than was known when the restore was declared',
    'truncated',
    (of, { sign, key }) => ({
      lines: of.lines,
      anchors: [sign(checkpointText(key.origin, ROWS + 8, 'ab'.repeat(32)))],
    }),
    'restored',
  ),
  evidence(
    'other rows than those that the restore took over',
    'rewritten',
    (of, { sign, key }) => ({
      lines: of.lines,
      anchors: [sign(checkpointText(key.origin, 4, 'ab'.repeat(32)))],
    }),
    'restored',
  ),
  evidence('a row of a restore without a signature', 'restore', (of) =>
    edited(of, 3, (row) => ({ ...row, action: 'audit.restore', outcome: 'allowed' })),
  ),
];
