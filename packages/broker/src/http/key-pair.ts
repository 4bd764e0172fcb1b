/** Reads a server's certificate and key from files that may be replaced at any time. */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { MeshpassError } from '@meshpass/identity';
import { readConfiguredFile, readPrivateFile } from '../base/index.ts';

export interface KeyPairFiles {
  /** The path of the certificate chain in PEM format, starting with the server's own certificate. */
  readonly certFile: string;
  /**
   * The path of the private key in PEM format. The file must have the permissions that `readPrivateFile()` requires.
   */
  readonly keyFile: string;
}

/**
 * Reads the certificate and the key, and checks that they match.
 * @throws MeshpassError `config_invalid` if a file is unreadable or the key does not match the certificate
 */
export function readKeyPair({ certFile, keyFile }: KeyPairFiles) {
  const pair = {
    cert: readConfiguredFile(certFile, () => readFileSync(certFile, 'utf8')),
    key: readConfiguredFile(keyFile, () => readPrivateFile(keyFile)),
  };
  try {
    createSecureContext(pair);
  } catch (cause) {
    const why = /key values mismatch/.test(String(cause))
      ? `The key in ${keyFile} does not match the certificate in ${certFile}`
      : `${certFile} and ${keyFile} do not contain a usable TLS certificate and key (${(cause as Error).message})`;
    throw new MeshpassError(
      'config_invalid',
      `${why}. In Kubernetes, both come from the same Secret: check that Secret.`,
      { cause },
    );
  }
  return pair;
}
