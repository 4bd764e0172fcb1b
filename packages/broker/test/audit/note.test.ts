import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatCheckpoint, readCheckpoint } from '../../src/audit/checkpoint/checkpoint.ts';
import { type AuditKey, openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { createNoteVerifier, openNote, parseVerifier, signNote } from '../../src/audit/checkpoint/note.ts';
import { createLogTree, EMPTY_LOG_STATE, isLogState } from '../../src/audit/log/tree.ts';

/** The example of golang.org/x/mod/sumdb/note: key, text and signature. */
const GO_KEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_NOTE = `${GO_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`;

describe('signed notes', () => {
  it('are those of other implementations', () => {
    const verifier = parseVerifier(GO_KEY);
    expect(verifier).toMatchObject({ name: 'PeterNeumann', id: 'c74f20a3', text: GO_KEY });
    expect(openNote(GO_NOTE, [verifier])).toEqual({ text: GO_TEXT });
    expect(openNote(GO_NOTE.replace('answer', 'problem'), [verifier])).toHaveProperty('problem');
  });

  it('may have further signatures, and needs one of a trusted key', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const ours = createNoteVerifier('broker.example/audit', publicKey);
    const note = signNote(GO_TEXT, ours, privateKey);
    const witnessed = note + GO_NOTE.slice(GO_TEXT.length + 1);
    expect(openNote(witnessed, [ours])).toEqual({ text: GO_TEXT });
    expect(openNote(witnessed, [parseVerifier(GO_KEY)])).toEqual({ text: GO_TEXT });
    expect(openNote(note, [parseVerifier(GO_KEY)])).toEqual({
      problem: 'it is not signed by a trusted key, but by broker.example/audit',
    });
    const another = createNoteVerifier(ours.name, generateKeyPairSync('ed25519').publicKey);
    expect(openNote(note, [another])).toEqual({ problem: 'it is not signed by a trusted key' });
    // A bad signature of a known key counts even if another one is good.
    const flipped = witnessed.replace('x08go/ZJ', 'x08go/ZK');
    expect(openNote(flipped, [ours, parseVerifier(GO_KEY)])).toHaveProperty('problem');
  });

  it.each([
    '',
    'text',
    'text\n',
    'text\n\n',
    '\n\n— a b\n',
    'a\tb\n\n— a AAAA\n',
    `${'x'.repeat(70_000)}\n\n— a AAAA\n`,
  ])('are refused when they are none: %#', (note) => {
    expect(openNote(note, [parseVerifier(GO_KEY)])).toHaveProperty('problem');
  });

  it.each(['', 'a', 'a+00000000+AAAA', GO_KEY.replace('c74f20a3', 'c74f20a4'), GO_KEY.replace('+ARpc', '+AhpC')])(
    'refuse an invalid verifier key: %s',
    (text) => {
      expect(() => parseVerifier(text)).toThrow('verifier key');
    },
  );
});

describe('checkpoints', () => {
  let dir: string;
  let key: AuditKey;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'meshpass-audit-key-'));
    key = await openAuditKey(join(dir, 'new', 'audit-key.pem'), 'https://broker.example:8443', true);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('are signed by a key that only the broker can read, under the name of the log', async () => {
    const file = join(dir, 'new', 'audit-key.pem');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(key.origin).toBe('broker.example:8443/audit');
    expect((await openAuditKey(file, 'https://broker.example:8443', false)).verifiers[0].text).toBe(
      key.verifiers[0].text,
    );
    await expect(openAuditKey(join(dir, 'none.pem'), 'https://broker.example', false)).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  it('come back as they were written', () => {
    const checkpoint = { origin: key.origin, epoch: 1, size: 20_852_163, root: 'ab'.repeat(32), isCut: false };
    const text = formatCheckpoint(checkpoint);
    expect(text).toBe(`broker.example:8443/audit\n20852163\n${Buffer.alloc(32, 0xab).toString('base64')}\n`);
    expect(readCheckpoint(key.sign(text), key.verifiers)).toEqual(checkpoint);
    const cut = { ...checkpoint, isCut: true };
    expect(readCheckpoint(key.sign(formatCheckpoint(cut)), key.verifiers)).toEqual(cut);
  });

  it.each(['a\n01\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n', 'a\n1\nAAAA\n', 'a\n1\n', 'a\n-1\nAAAA\n'])(
    'are refused when the text is not of one: %#',
    (text) => {
      expect(readCheckpoint(key.sign(text), key.verifiers)).toHaveProperty('problem');
    },
  );
});

/** RFC 6962 section 2.1, as it is written there. */
function definedRoot(leaves: readonly Buffer[]): Buffer {
  const sha = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
  if (leaves.length === 0) return sha();
  if (leaves.length === 1) return leaves[0]!;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return sha(Buffer.of(1), definedRoot(leaves.slice(0, k)), definedRoot(leaves.slice(k)));
}

describe('the tree', () => {
  const leaves = Array.from({ length: 70 }, (_, n) => createHash('sha256').update(`\0leaf ${n}`).digest());

  it('is that of RFC 6962 at every size, even if grown from a state', () => {
    let tree = createLogTree(EMPTY_LOG_STATE);
    for (let size = 0; size <= leaves.length; size++) {
      expect(tree.root()).toBe(definedRoot(leaves.slice(0, size)).toString('hex'));
      expect(isLogState(tree.state())).toBe(true);
      tree = createLogTree(tree.state());
      if (size < leaves.length) tree.append(leaves[size]!.toString('hex'));
    }
  });

  it('refuses an impossible state', () => {
    const hash = 'ab'.repeat(32);
    for (const state of [
      { size: 3, peaks: [hash] },
      { size: -1, peaks: [] },
      { size: 1, peaks: ['ab'] },
      { size: 1.5, peaks: [hash] },
      { size: 2 ** 60, peaks: [hash] },
    ])
      expect(isLogState({ ...state, hash })).toBe(false);
  });
});
