/** Tokens that must be refused, each bad in one way only: everything else about it is as it should be. */
import { createHmac, randomUUID, sign } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import type { Keys } from './keys.ts';

export const FORGERIES = [
  'alg-none',
  'unsigned',
  'hs256-with-public-key',
  'unknown-kid',
  'no-kid-other-key',
  'other-key-known-kid',
  'changed-claims',
  'key-in-header',
  'key-url-in-header',
  'critical-header',
  'other-type',
  'encrypted',
  'unknown-issuer',
  'issuer-with-slash',
  'no-issuer',
  'wrong-audience',
  'no-audience',
  'no-subject',
  'expired',
  'no-expiry',
  'endless',
  'not-yet-valid',
  'issued-in-future',
  'time-as-text',
  'deep-claims',
  'deep-header',
  'huge',
  'claims-no-object',
  'not-base64',
  'not-a-token',
  'member-twice',
  'member-twice-in-other-writing',
  'header-member-twice',
  'kid-of-a-file',
  'certificate-in-header',
  'unencoded-payload',
  'alg-of-another-key',
  'alg-in-small-letters',
  'weak-hash',
  'two-signatures',
  'padded-base64',
  'hs256-with-key-id',
  'empty-header',
  'signature-of-zeros',
] as const;
export type Forgery = (typeof FORGERIES)[number];

/** A megabyte of claim. */
const HUGE_BYTES = 1 << 20;
const DEPTH = 2000;

/**
 * @param good claims that would be accepted if they were signed in order
 * @param attacker URL that a verifier must never fetch, named in the header by `key-url-in-header`
 */
export async function forgeToken(
  forgery: Forgery,
  good: JWTPayload,
  keys: Keys,
  attacker = 'https://attacker.test/keys',
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const { kid } = keys.privateKey();
  const without = (...names: string[]) =>
    Object.fromEntries(Object.entries(good).filter(([name]) => !names.includes(name)));
  const other = async (header: Record<string, unknown>) => {
    const pair = await generateKeyPair('RS256', { extractable: true });
    const jwk = await exportJWK(pair.publicKey);
    const own = header.jwk === true ? { ...header, jwk } : header;
    return new SignJWT(good).setProtectedHeader({ typ: 'JWT', alg: 'RS256', ...own }).sign(pair.privateKey);
  };
  switch (forgery) {
    case 'alg-none':
      return `${encode({ typ: 'JWT', alg: 'none' })}.${encode(good)}.`;
    case 'unsigned':
      return `${(await keys.sign(good)).split('.').slice(0, 2).join('.')}.`;
    case 'hs256-with-public-key': {
      const input = `${encode({ typ: 'JWT', alg: 'HS256', kid })}.${encode(good)}`;
      return `${input}.${createHmac('sha256', keys.publicPem()).update(input).digest('base64url')}`;
    }
    case 'unknown-kid':
      return other({ kid: randomUUID() });
    case 'no-kid-other-key':
      return other({});
    case 'other-key-known-kid':
      return other({ kid });
    case 'changed-claims': {
      const [header, , signature] = (await keys.sign(good)).split('.');
      return `${header}.${encode({ ...good, sub: 'admin' })}.${signature}`;
    }
    case 'key-in-header':
      return other({ jwk: true });
    case 'key-url-in-header':
      return other({ kid: randomUUID(), jku: attacker, x5u: attacker });
    case 'critical-header': {
      const input = `${encode({ typ: 'JWT', alg: 'RS256', kid, crit: ['urn:lab:unheard-of'], 'urn:lab:unheard-of': 1 })}.${encode(good)}`;
      return signRaw(input, keys);
    }
    case 'other-type':
      return keys.sign(good, { header: { typ: 'at+jwt' } });
    case 'encrypted':
      return `${encode({ alg: 'RSA-OAEP', enc: 'A256GCM', kid })}.AAAA.AAAA.AAAA.AAAA`;
    case 'unknown-issuer':
      return keys.sign({ ...good, iss: 'https://attacker.test' });
    case 'issuer-with-slash':
      return keys.sign({ ...good, iss: good.iss?.endsWith('/') ? good.iss.slice(0, -1) : `${good.iss}/` });
    case 'no-issuer':
      return keys.sign(without('iss'));
    case 'wrong-audience':
      return keys.sign({ ...good, aud: 'somebody-else' });
    case 'no-audience':
      return keys.sign(without('aud'));
    case 'no-subject':
      return keys.sign(without('sub'));
    case 'expired':
      return keys.sign({ ...good, iat: now - 7200, nbf: now - 7200, exp: now - 3600 });
    case 'no-expiry':
      return keys.sign(without('exp'));
    case 'endless':
      return keys.sign({ ...good, exp: now + 10 * 365 * 86400 });
    case 'not-yet-valid':
      return keys.sign({ ...good, nbf: now + 3600, exp: now + 7200 });
    case 'issued-in-future':
      return keys.sign({ ...good, iat: now + 3600, nbf: now - 60, exp: now + 7200 });
    case 'time-as-text':
      return signRaw(
        `${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encode({ ...good, exp: String(good.exp) })}`,
        keys,
      );
    case 'deep-claims':
      return signRaw(`${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encodeText(deep(good))}`, keys);
    case 'deep-header':
      return signRaw(`${encodeText(deep({ typ: 'JWT', alg: 'RS256', kid }))}.${encode(good)}`, keys);
    case 'huge':
      return keys.sign({ ...good, padding: 'x'.repeat(HUGE_BYTES) });
    case 'claims-no-object':
      return signRaw(`${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encode([good])}`, keys);
    case 'not-base64':
      return (await keys.sign(good)).replace('.', '.*');
    case 'not-a-token':
      return 'ghp_looks_like_something_else';
    case 'member-twice':
      return signRaw(`${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encodeText(again(good, '"sub":"admin"'))}`, keys);
    case 'member-twice-in-other-writing':
      return signRaw(
        `${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encodeText(again(good, '"s\\u0075b":"admin"'))}`,
        keys,
      );
    case 'header-member-twice':
      return signRaw(`${encodeText(again({ typ: 'JWT', alg: 'none', kid }, '"alg":"RS256"'))}.${encode(good)}`, keys);
    case 'kid-of-a-file':
      return other({ kid: '../../../../dev/null' });
    case 'certificate-in-header':
      return other({ kid: randomUUID(), x5c: [Buffer.from(keys.publicPem()).toString('base64')], x5t: 'AAAA' });
    case 'unencoded-payload': {
      const input = `${encode({ typ: 'JWT', alg: 'RS256', kid, b64: false, crit: ['b64'] })}.${encode(good)}`;
      return signRaw(input, keys);
    }
    case 'alg-of-another-key':
      return signRaw(`${encode({ typ: 'JWT', alg: 'ES256', kid })}.${encode(good)}`, keys);
    case 'alg-in-small-letters':
      return signRaw(`${encode({ typ: 'JWT', alg: 'rs256', kid })}.${encode(good)}`, keys);
    case 'weak-hash': {
      const input = `${encode({ typ: 'JWT', alg: 'RS1', kid })}.${encode(good)}`;
      return `${input}.${sign('sha1', Buffer.from(input), keys.privateKey().key).toString('base64url')}`;
    }
    case 'two-signatures': {
      const token = await keys.sign(good);
      return `${token}.${token.split('.')[2]}`;
    }
    case 'padded-base64':
      return `${await keys.sign(good)}==`;
    case 'hs256-with-key-id': {
      const input = `${encode({ typ: 'JWT', alg: 'HS256', kid })}.${encode(good)}`;
      return `${input}.${createHmac('sha256', kid).update(input).digest('base64url')}`;
    }
    case 'empty-header':
      return signRaw(`${encode({})}.${encode(good)}`, keys);
    case 'signature-of-zeros':
      return `${encode({ typ: 'JWT', alg: 'RS256', kid })}.${encode(good)}.${Buffer.alloc(256).toString('base64url')}`;
  }
}

/** A JSON object with one more member, which it has already. */
function again(object: object, member: string): string {
  return `${JSON.stringify(object).slice(0, -1)},${member}}`;
}

function encode(value: unknown): string {
  return encodeText(JSON.stringify(value));
}

function encodeText(text: string): string {
  return Buffer.from(text).toString('base64url');
}

/** JSON.stringify itself would run out of stack before some parsers do. */
function deep(object: object): string {
  return `${JSON.stringify(object).slice(0, -1)},"deep":${'['.repeat(DEPTH)}${']'.repeat(DEPTH)}}`;
}

function signRaw(input: string, keys: Keys): string {
  return `${input}.${sign('sha256', Buffer.from(input), keys.privateKey().key).toString('base64url')}`;
}
