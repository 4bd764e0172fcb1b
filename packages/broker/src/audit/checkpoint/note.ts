/**
 * Signs and verifies notes (c2sp.org/signed-note). A note consists of a text, an empty line, and signatures with key
 * names. Only Ed25519 is supported. Signatures by other witnesses are ignored.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { MeshpassError, plainText } from '@meshpass/identity';

/** A public key with a name. Its `text` has the verifier key format `NAME+ID+BASE64`. */
export type NoteVerifier = Readonly<ReturnType<typeof createNoteVerifier>>;

const ED25519 = 0x01;
const KEY_BYTES = 32;
const MAX_NOTE = 64 * 1024;
/** The maximum length of an unknown signer's name in an error message, in characters. */
const LONGEST_NAME = 100;
/** The DER prefix of a 32-byte Ed25519 public key (RFC 8410 section 4). */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/**
 * Creates a verifier from a public key.
 * @param name the name of the key, which must not contain white space or `+`
 */
export function createNoteVerifier(name: string, publicKey: KeyObject) {
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length);
  const typed = Buffer.concat([Buffer.of(ED25519), raw]);
  // The key id is the first four bytes of a hash over the name and the key.
  const id = createHash('sha256').update(`${name}\n`).update(typed).digest('hex').slice(0, 8);
  return { name, id, key: publicKey, text: `${name}+${id}+${typed.toString('base64')}` };
}

/**
 * Parses a verifier key.
 * @throws MeshpassError `usage` if the text is not an Ed25519 verifier key
 */
export function parseVerifier(text: string): NoteVerifier {
  const [, name, id, base64] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(text.trim()) ?? [];
  const typed = Buffer.from(base64 ?? '', 'base64');
  if (name !== undefined && typed.length === 1 + KEY_BYTES && typed[0] === ED25519) {
    const key = createPublicKey({ key: Buffer.concat([SPKI, typed.subarray(1)]), format: 'der', type: 'spki' });
    const verifier = createNoteVerifier(name, key);
    if (verifier.id === id) return verifier;
  }
  throw new MeshpassError('usage', 'A verifier key has the form NAME+ID+BASE64, as printed by `meshpass audit key`.');
}

/**
 * Signs text and returns it as a note.
 * @param text non-empty lines that each end with a newline
 */
export function signNote(text: string, verifier: NoteVerifier, privateKey: KeyObject): string {
  const signature = sign(null, Buffer.from(text), privateKey);
  const blob = Buffer.concat([Buffer.from(verifier.id, 'hex'), signature]).toString('base64');
  return `${text}\n— ${verifier.name} ${blob}\n`;
}

/**
 * Verifies that one of the given keys signed a note.
 * @returns the text if it was; otherwise the reason why the note was rejected
 */
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
      return { problem: `the signature of ${verifier.name} is invalid` };
    signed = true;
  }
  if (signed) return { text };
  const other = foreign === undefined ? '' : `, but by ${plainText(foreign.slice(0, LONGEST_NAME))}`;
  return { problem: `it is not signed by a trusted key${other}` };
}
