/**
 * The format of the audit log is frozen: exports in `kept/` verify with this version and every later one. A broker wrote them before its
 * store had one schema: decisions about sessions, certificates, approvals and operators, two epochs with a declared restore between them
 * (`log.jsonl`), and the same log after a pruning (`pruned.jsonl`). The key and the checkpoint were stored elsewhere. Never regenerate them.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { parseVerifier } from '../../src/audit/checkpoint/note.ts';
import { ocsfEvents } from '../../src/audit/export/ocsf.ts';
import { verifyLines } from '../harness/audit-log.ts';

const MAIN = fileURLToPath(new URL('../../../cli/src/main.ts', import.meta.url));
const SLOW = 60_000;

const pathOf = (file: string) => fileURLToPath(new URL(`./kept/${file}`, import.meta.url));
const linesOf = (file: string) => readFileSync(pathOf(file), 'utf8').trimEnd().split('\n');
const keys = linesOf('key.txt').map(parseVerifier);
const checkpoint = { label: 'The kept checkpoint', note: readFileSync(pathOf('checkpoint.txt'), 'utf8') };

/** Replaces one character of the last value of this member, which is text. */
function withOneByteChanged(line: string, member: string): string {
  const at = line.lastIndexOf(`"${member}":"`) + member.length + 4;
  return line.slice(0, at) + (line[at] === 'a' ? 'b' : 'a') + line.slice(at + 1);
}

describe('`meshpass audit verify`', () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-kept-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const verify = async (file: string, ...more: string[]) => {
    const args = [MAIN, 'audit', 'verify', '--file', file, '--key', pathOf('key.txt'), '--output', 'json', ...more];
    const run = promisify(execFile)(process.execPath, args);
    return await run.then(
      ({ stdout }) => ({ code: 0, report: JSON.parse(stdout) }),
      ({ stdout, code }) => ({ code, report: JSON.parse(stdout) }),
    );
  };

  it(
    'accepts a whole log, with a declared restore and an earlier checkpoint',
    async () => {
      const { code, report } = await verify(pathOf('log.jsonl'), '--checkpoint', pathOf('checkpoint.txt'));
      const expected = { ok: true, origin: 'broker.example/audit/2', rows: 20, first: 1, last: 20, checkpoints: 6 };
      expect(report).toMatchObject({ ...expected, prunedUpTo: 0, gaps: [{ epoch: 2, row: 17 }], problems: [] });
      expect(code).toBe(0);
    },
    SLOW,
  );

  it(
    'accepts a log whose older rows were pruned',
    async () => {
      const { code, report } = await verify(pathOf('pruned.jsonl'));
      expect(report).toMatchObject({ ok: true, rows: 2, first: 21, last: 22, prunedUpTo: 20, problems: [] });
      expect(code).toBe(0);
    },
    SLOW,
  );

  it(
    'refuses a log in which one byte was changed',
    async () => {
      const file = join(dir, 'changed.jsonl');
      writeFileSync(file, readFileSync(pathOf('log.jsonl'), 'utf8').replace('"login":"alice"', '"login":"blice"'));
      const { code, report } = await verify(file);
      expect(report).toMatchObject({ ok: false, problems: [{ kind: 'changed', rows: [2, 2] }] });
      expect(code).toBe(1);
    },
    SLOW,
  );
});

describe.each(['log.jsonl', 'pruned.jsonl'])('a change of one byte in %s', (file) => {
  const lines = linesOf(file);
  const read = lines.map((line) => JSON.parse(line) as Record<string, unknown>);

  /** Each line with each of its members that is text. Keys come from elsewhere, so the header may name any. */
  const changes = read.flatMap((line, index) =>
    Object.entries(line)
      .filter(([, value]) => typeof value === 'string')
      .map(([member]) => ({ index, member })),
  );

  it('is found in every member of every line', async () => {
    for (const { index, member } of changes) {
      const changed = lines.with(index, withOneByteChanged(lines[index]!, member));
      const found = await verifyLines(changed, { keys, anchored: [checkpoint] }).then(
        ({ ok }) => !ok,
        ({ code }) => code === 'request_malformed',
      );
      expect(found, `line ${index + 1}, ${member}`).toBe(true);
    }
  });
});

it('`meshpass audit export --form ocsf` makes the same events of these rows, each with its row', () => {
  const rows = linesOf('log.jsonl').map((line) => JSON.parse(line));
  const events = rows.filter(({ kind }) => kind === undefined).flatMap(ocsfEvents);
  const kept = linesOf('events.jsonl').map((line) => JSON.parse(line));
  const rowOf = ({ metadata }: (typeof kept)[number]) => rows.find(({ seq }) => seq === metadata.sequence);
  expect(events).toEqual(kept.map((event) => ({ ...event, unmapped: { meshpass: rowOf(event) } })));
});
