/**
 * Manages the audit log's key. It is an Ed25519 key in a PEM file with mode 0600, and is never written to the store. If
 * the file contains more than one key, the first one signs and the others can only verify.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { readKeyFile } from '../../base/index.ts';
import { createNoteVerifier, type NoteVerifier, signNote } from './note.ts';

export interface AuditKey {
  /**
   * The log's name in this epoch. In the first epoch, this is the key's name: the broker's host followed by `/audit`.
   */
  readonly origin: string;
  /** The epoch whose checkpoints this key signs (epoch.ts). */
  readonly epoch: number;
  /** The keys that verify checkpoints, starting with the one that belongs to the signing key. */
  readonly verifiers: readonly [NoteVerifier, ...NoteVerifier[]];
  /** Signs text and returns the note. */
  readonly sign: (text: string) => string;
}

/**
 * Opens the file that contains the audit log's keys.
 * @param file a PEM file (PKCS#8, Ed25519)
 * @param publicUrl the broker's public URL, whose host becomes part of the log's name
 * @param generate whether to create the file if it is missing
 * @throws MeshpassError `config_invalid`
 */
export async function openAuditKey(file: string, publicUrl: string, generate: boolean): Promise<AuditKey> {
  const origin = `${new URL(publicUrl).host}/audit`;
  const make = async () => generateKeyPairSync('ed25519').privateKey;
  const text = await readKeyFile(file, generate ? make : undefined, `the audit key file ${file} (--audit-key)`);
  const pems = text.match(/-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----/g) ?? [];
  const [first, ...others] = pems.map(readKey);
  if (!first) throw new MeshpassError('config_invalid', 'The audit key file does not contain a private key.');
  const verifier = (key: KeyObject) => createNoteVerifier(origin, createPublicKey(key));
  const own = verifier(first);
  return {
    origin,
    epoch: 1,
    verifiers: [own, ...others.map(verifier)],
    sign: (signed) => signNote(signed, own, first),
  };
}

function readKey(pem: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // Ignore the parser's error, because it may quote the file.
  }
  if (key?.asymmetricKeyType === 'ed25519') return key;
  throw new MeshpassError('config_invalid', 'The audit key must be an Ed25519 key in PEM.');
}
