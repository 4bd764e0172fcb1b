/** The signing keys of an issuer: its signing key, its published keys, and the change from one to the next. */
import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import { loadSnapshot, saveSnapshot } from '../stand-in/snapshot.ts';

export type SigningAlgorithm = 'RS256' | 'PS256' | 'ES256' | 'ES384' | 'EdDSA';
const ALGORITHMS: readonly SigningAlgorithm[] = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];

/** Private keys as JWKs, newest first. */
interface KeySet {
  readonly keys: JWK[];
}

export interface Keys {
  /** Private JWKs that are signed with and published, newest first. */
  readonly current: () => readonly JWK[];
  /** The published JWKS (public halves). */
  readonly published: () => { keys: JWK[] };
  readonly privateKey: (alg?: SigningAlgorithm) => { readonly key: KeyObject; readonly kid: string };
  readonly publicPem: (alg?: SigningAlgorithm) => string;
  /** Signs exactly these claims. */
  sign(claims: JWTPayload, options?: { alg?: SigningAlgorithm; header?: Record<string, unknown> }): Promise<string>;
  /** Replaces the keys; `keepOld` still publishes the previous ones, as a well-behaved issuer does for a while. */
  rotate(keepOld: boolean): Promise<void>;
}

/** @param file that keeps them from one run to the next; undefined: they are not kept */
export async function openKeys(file: string | undefined): Promise<Keys> {
  const saved = file === undefined ? undefined : loadSnapshot<KeySet>(file);
  const changed = (set: KeySet): void => {
    if (file !== undefined) saveSnapshot(file, set);
  };
  let keys = saved?.keys ?? (await newKeys());
  changed({ keys });
  const pick = (alg: SigningAlgorithm = 'RS256') => keys.find((jwk) => jwk.alg === alg)!;
  const privateKey = (alg?: SigningAlgorithm) => {
    const jwk = pick(alg);
    return { key: createPrivateKey({ key: jwk as never, format: 'jwk' }), kid: jwk.kid! };
  };
  return {
    current: () => keys,
    published: () => ({ keys: keys.map(publicHalf) }),
    privateKey,
    publicPem: (alg) => createPublicKey(privateKey(alg).key).export({ type: 'spki', format: 'pem' }) as string,
    sign(claims, { alg = 'RS256', header = {} } = {}) {
      const { key, kid } = privateKey(alg);
      return new SignJWT(claims).setProtectedHeader({ typ: 'JWT', alg, kid, ...header }).sign(key);
    },
    async rotate(keepOld) {
      keys = [...(await newKeys()), ...(keepOld ? keys : [])];
      changed({ keys });
    },
  };
}

async function newKeys(): Promise<JWK[]> {
  return Promise.all(
    ALGORITHMS.map(async (alg) => {
      const { privateKey } = await generateKeyPair(alg, { extractable: true });
      return { ...(await exportJWK(privateKey)), kid: randomUUID(), alg, use: 'sig' };
    }),
  );
}

function publicHalf(jwk: JWK): JWK {
  const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest } = jwk;
  return rest;
}
