/**
 * The key that signs checkpoints: Ed25519, in a PEM file of mode 0600 and never in the store. A file may hold several: the
 * first signs, the others are still believed.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { readKeyFile } from '../../secrets/key-file.ts';
import { type NoteVerifier, noteVerifier, signNote } from './note.ts';

export interface AuditKey {
  /** Name of the log and of its key: the broker's host and `/audit`. */
  readonly origin: string;
  /** That of the key that signs is the first. */
  readonly verifiers: readonly [NoteVerifier, ...NoteVerifier[]];
  /** @returns a signed note over lines of text */
  readonly sign: (text: string) => string;
}

/**
 * @param file PEM (PKCS#8, Ed25519)
 * @param publicUrl of the broker: names the log
 * @param generate whether to make the file where it is missing
 * @throws MeshpassError `config_invalid`
 */
export async function openAuditKey(file: string, publicUrl: string, generate: boolean): Promise<AuditKey> {
  const origin = `${new URL(publicUrl).host}/audit`;
  const [first, ...others] = splitPem(
    await readKeyFile(file, generate ? makeKey : undefined, `The audit key file ${file} (--audit-key)`),
  ).map(readKey);
  if (!first) throw new MeshpassError('config_invalid', 'The audit key file has no private key.');
  const verifier = (key: KeyObject) => noteVerifier(origin, createPublicKey(key));
  const own = verifier(first);
  return { origin, verifiers: [own, ...others.map(verifier)], sign: (text) => signNote(text, own, first) };
}

async function makeKey(): Promise<KeyObject> {
  return generateKeyPairSync('ed25519').privateKey;
}

function splitPem(text: string): string[] {
  return text.match(/-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----/g) ?? [];
}

function readKey(pem: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause of the parser may quote the file.
  }
  if (key?.asymmetricKeyType === 'ed25519') return key;
  throw new MeshpassError('config_invalid', 'The audit key must be an Ed25519 key in PEM.');
}
