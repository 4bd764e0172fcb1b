/**
 * Reads the root certificates of the mesh from text or from a file that an operator provides. The file is watched,
 * because roots are rotated.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { certificateValidity, MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type Log, readConfiguredFile } from '../../base/index.ts';
import type { KubernetesWatch } from '../kubernetes/watch.ts';
import { fingerprint, parseCertificates } from './verify-certificate.ts';

const LOOK_MS = 5_000;

/**
 * Watches a file that contains the root certificates. The file is read immediately and then every few seconds. If it
 * becomes unusable later, the last valid roots remain in use.
 * @throws MeshpassError `config_invalid` if the file is unusable when it is first read
 */
export function watchRootsFile(
  path: string,
  log: Log,
  onChange: () => void,
  lookMs = LOOK_MS,
): KubernetesWatch<readonly string[]> {
  let roots = readRoots(path);
  let said = '';
  const timer = setInterval(() => {
    try {
      const found = readRoots(path);
      said = '';
      if (found.join('') === roots.join('')) return;
      roots = found;
      log.info({ path, roots: roots.length }, 'the mesh roots have changed');
      onChange();
    } catch (thrown) {
      const error = toMeshpassError(thrown);
      if (error.message !== said)
        log.warn({ path, err: error }, 'cannot read the mesh roots; keeping the previous ones');
      said = error.message;
    }
  }, lookMs);
  timer.unref();
  return { all: () => [roots], close: () => clearInterval(timer) };
}

/**
 * Splits a PEM text into its certificates.
 * @throws MeshpassError `config_invalid` if a block is not a certificate, or if there are no certificates
 */
export function splitRoots(text: string): readonly string[] {
  try {
    const certificates = parseCertificates(text);
    if (certificates.length > 0) return certificates.map((certificate) => certificate.toString());
  } catch (cause) {
    throw new MeshpassError('config_invalid', 'Cannot read a mesh root certificate.', { cause });
  }
  throw new MeshpassError('config_invalid', 'The mesh roots file does not contain a certificate.');
}

/**
 * Returns when each root certificate expires, for metrics.
 * @param roots the roots in PEM format, with one certificate per entry
 * @returns for each root, the first 16 digits of its SHA-256 fingerprint and its expiry in Unix seconds
 */
export function rootLifetimes(roots: readonly string[]) {
  return roots.map((pem) => {
    const certificate = new X509Certificate(pem);
    return { root: fingerprint(certificate).slice(0, 16), notAfter: certificateValidity(certificate).notAfter };
  });
}

function readRoots(path: string): readonly string[] {
  return splitRoots(readConfiguredFile(`${path} (--istiod-roots)`, () => readFileSync(path, 'utf8')));
}
