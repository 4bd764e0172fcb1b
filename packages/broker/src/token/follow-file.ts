/**
 * Follows a file of signing keys that is somebody else's, such as a mounted Secret: the first key in it is to sign, and all
 * are published. A key that is new there signs only when the mesh has had it for a while, if the one before it is still in
 * the file, so that no order in which the file is changed fails a request.
 */
import { seconds } from '../clock/clock.ts';
import { jwksOf, type KeyRing, keysOf, publicJwk } from './key-ring.ts';
import type { RotationContext } from './rotation-context.ts';
import { recordKey } from './rotation-context.ts';

/**
 * @param adopt puts another ring in force
 * @param inMesh whether sidecars have been told of a key
 * @returns looks once
 */
export function followFile(
  context: RotationContext,
  adopt: (ring: KeyRing) => void,
  inMesh: (kid: string) => boolean,
): () => Promise<void> {
  const { signer, clock, waitSeconds } = context;
  /** Since when the mesh has had each key, Unix seconds. */
  const since = new Map<string, number>();
  return async () => {
    const file = await signer.read();
    const now = seconds(clock);
    for (const { kid } of keysOf(file)) {
      if (!inMesh(kid)) since.delete(kid);
      else if (!since.has(kid)) since.set(kid, now);
    }
    const known = (kid: string): boolean => now >= (since.get(kid) ?? Number.POSITIVE_INFINITY) + waitSeconds;
    const wanted = ringInForce(file, signer.ring, known);
    if (wanted.signing.kid !== signer.kid)
      await recordKey(context, 'The first key of the signing key file signs from now on.', publicJwk(wanted.signing), {
        retired: signer.kid,
      });
    if (jwksOf(wanted) !== signer.jwks) adopt(wanted);
  };
}

/**
 * @param file the keys as the file has them
 * @param before what is in force
 * @param known whether everybody who verifies tokens has had a key for long enough
 */
export function ringInForce(file: KeyRing, before: KeyRing, known: (kid: string) => boolean): KeyRing {
  const { kid } = before.signing;
  if (file.signing.kid === kid || known(file.signing.kid)) return file;
  const stays = keysOf(file).some((key) => key.kid === kid);
  // The key that signed is gone from the file: there is no other to sign with.
  if (!stays) return file;
  const { publicKey } = file.signing;
  const isAnother = (key: { readonly kid: string } | undefined): boolean => key?.kid !== kid;
  return {
    signing: before.signing,
    next: isAnother(file.next) ? file.next : undefined,
    retired: [{ kid: file.signing.kid, publicKey }, ...file.retired.filter(isAnother)],
  };
}
