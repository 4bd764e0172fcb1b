/**
 * Signed notes (c2sp.org/signed-note): text, an empty line, and signatures by named keys. Ed25519 only. What other witnesses
 * sign below our own line is left alone.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { plainText } from '@meshpass/identity/text';

/** A public key with its name, as it is handed to whoever verifies: `NAME+ID+BASE64`. */
export interface NoteVerifier {
  readonly name: string;
  /** First four bytes of a hash of name and key, hex. */
  readonly id: string;
  readonly key: KeyObject;
  readonly text: string;
}

const ED25519 = 0x01;
const KEY_BYTES = 32;
const MAX_NOTE = 64 * 1024;
/** Characters of somebody else's name in a message. */
const LONGEST_NAME = 100;
/** DER before the 32 bytes of an Ed25519 public key (RFC 8410 section 4). */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/** @param name no white space and no `+` */
export function noteVerifier(name: string, publicKey: KeyObject): NoteVerifier {
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length);
  const typed = Buffer.concat([Buffer.of(ED25519), raw]);
  const id = createHash('sha256').update(`${name}\n`).update(typed).digest('hex').slice(0, 8);
  return { name, id, key: publicKey, text: `${name}+${id}+${typed.toString('base64')}` };
}

/** @throws MeshpassError `usage` when it is no verifier key of Ed25519 */
export function parseVerifier(text: string): NoteVerifier {
  const [, name, id, base64] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(text.trim()) ?? [];
  const typed = Buffer.from(base64 ?? '', 'base64');
  if (name !== undefined && typed.length === 1 + KEY_BYTES && typed[0] === ED25519) {
    const key = createPublicKey({ key: Buffer.concat([SPKI, typed.subarray(1)]), format: 'der', type: 'spki' });
    const verifier = noteVerifier(name, key);
    if (verifier.id === id) return verifier;
  }
  throw new MeshpassError('usage', 'A verifier key looks like NAME+ID+BASE64, as `meshpass audit key` prints it.');
}

/** @param text lines, each ended by a newline, none of them empty */
export function signNote(text: string, verifier: NoteVerifier, privateKey: KeyObject): string {
  const signature = sign(null, Buffer.from(text), privateKey);
  const blob = Buffer.concat([Buffer.from(verifier.id, 'hex'), signature]).toString('base64');
  return `${text}\n— ${verifier.name} ${blob}\n`;
}

/** @returns the text, when one of the keys has signed it; otherwise what is wrong */
export function openNote(
  note: string,
  verifiers: readonly NoteVerifier[],
): { readonly text: string } | { readonly problem: string } {
  const at = note.lastIndexOf('\n\n');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the specification forbids them
  if (note.length > MAX_NOTE || at < 0 || !note.endsWith('\n') || /[\0-\x09\x0b-\x1f]/.test(note))
    return { problem: 'it is not a signed note' };
  const text = note.slice(0, at + 1);
  let signed = false;
  let foreign: string | undefined;
  for (const line of note.slice(at + 2, -1).split('\n')) {
    const [, name, base64] = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? [];
    if (base64 === undefined) return { problem: 'it has a line that is not a signature' };
    const blob = Buffer.from(base64, 'base64');
    const verifier = verifiers.find((one) => one.name === name && one.id === blob.subarray(0, 4).toString('hex'));
    if (!verifier) {
      if (!verifiers.some((one) => one.name === name)) foreign ??= name;
      continue;
    }
    if (!verify(null, Buffer.from(text), verifier.key, blob.subarray(4)))
      return { problem: `the signature of ${verifier.name} is wrong` };
    signed = true;
  }
  if (signed) return { text };
  const other = foreign === undefined ? '' : `, but as ${plainText(foreign.slice(0, LONGEST_NAME))}`;
  return { problem: `it is not signed by a trusted key${other}` };
}
