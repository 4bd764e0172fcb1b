import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ringInForce } from '../../src/token/follow-file.ts';
import { asNext, formatRing, jwksOf, type KeyRing, onlyKey, readRing, signWithNext } from '../../src/token/key-ring.ts';
import { nextStep } from '../../src/token/next-step.ts';
import { openSigner } from '../../src/token/signer.ts';

const rsa = (bits = 2048): KeyObject => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const kids = (ring: KeyRing) => (JSON.parse(jwksOf(ring)) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
const NEW = { since: 1000, tokenSeconds: 0 };

let directory: string;
let keys: readonly [KeyObject, KeyObject, KeyObject];
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-ring-'));
  keys = [rsa(), rsa(), rsa()];
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the file of the signing keys', () => {
  it('holds each key with its part, and of a key that signs no more only the public half', () => {
    const first = onlyKey(keys[0], 1000, 300);
    const ahead = { ...first, next: { ...asNext(keys[1], 2000), publishedAt: 2005 } };
    const after = signWithNext(ahead, 2400, 600);
    expect(after).toMatchObject({
      signing: { kid: ahead.next.kid, since: 2400, tokenSeconds: 600 },
      retired: [{ kid: first.signing.kid, until: 2400 + 300 + 60 }],
    });
    for (const ring of [first, ahead, after]) {
      const text = formatRing(ring);
      const again = readRing(text, NEW);
      expect(formatRing(again)).toBe(text);
      expect(kids(again)).toEqual(kids(ring));
    }
    expect(formatRing(after).match(/PRIVATE KEY-----\n/g)).toHaveLength(2);
    expect(formatRing(after)).not.toContain(pem(keys[0]).split('\n')[3]);
    expect(kids(ahead)).toHaveLength(2);
    expect(jwksOf(ahead)).not.toMatch(/"d"|"p"|"q"/);
  });

  it('may be one that somebody else made: the first key signs, all are published', () => {
    const ring = readRing(pem(keys[0]) + pem(keys[1]), NEW);
    expect(ring.signing).toMatchObject({ since: 1000, tokenSeconds: 0 });
    expect(createPrivateKey(pem(keys[0])).equals(ring.signing.privateKey)).toBe(true);
    expect(ring.retired).toMatchObject([{ kid: kids(ring)[1] }]);
    expect(ring.next).toBeUndefined();
  });

  it.each([
    ['is empty', () => ''],
    ['has a public key that is to sign', () => formatRing(onlyKey(keys[0], 1, 1)).replaceAll('PRIVATE', 'PUBLIC')],
    ['has two keys that sign', () => formatRing(onlyKey(keys[0], 1, 1)) + formatRing(onlyKey(keys[1], 1, 1))],
    ['has a part that does not exist', () => formatRing(onlyKey(keys[0], 1, 1)).replace('signing', 'shining')],
    ['has a short key', () => pem(rsa(1024))],
    ['has a broken key', () => pem(keys[0]).replace(/\n[A-Za-z0-9+/]{64}\n/, '\n')],
  ])('is refused, and not quoted, when it %s', (_, text) => {
    expect.assertions(2);
    try {
      readRing(text(), NEW);
    } catch (error) {
      expect(error).toMatchObject({ code: 'config_invalid' });
      expect(`${(error as Error).message} ${(error as Error).cause}`).not.toMatch(/[A-Za-z0-9+/]{40}/);
    }
  });

  it('is read by OpenSSL as ever: the key that signs comes first', () => {
    const file = join(directory, 'openssl.pem');
    const ring = { ...onlyKey(keys[0], 1000, 300), next: asNext(keys[1], 2000) };
    writeFileSync(file, formatRing(ring));
    const modulus = execFileSync('openssl', ['rsa', '-in', file, '-noout', '-modulus'], { stdio: 'pipe' }).toString();
    const { n } = keys[0].export({ format: 'jwk' });
    expect(modulus.trim()).toBe(`Modulus=${Buffer.from(n!, 'base64url').toString('hex').toUpperCase()}`);
  });
});

describe('a signer', () => {
  it('replaces its file as a whole, readable by its owner only, over what an attempt before left', async () => {
    const file = join(directory, 'replaced.pem');
    const signer = await openSigner(file, true);
    const before = signer.kid;
    writeFileSync(`${file}.next`, 'cut off in the mid');
    chmodSync(`${file}.next`, 0o644);
    await signer.replace(signWithNext({ ...signer.ring, next: asNext(keys[2], 1) }, 2, 300));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file}.next`)).toBe(false);
    expect(signer.kid).not.toBe(before);
    expect(signer.knows(before)).toBe(true);
    const again = await openSigner(file, true);
    expect(again.jwks).toBe(signer.jwks);
    const token = await again.sign({ sub: 'x' });
    await jwtVerify(token, createLocalJWKSet(JSON.parse(signer.jwks)));
  });

  it('stays as it was where the file cannot be written', async () => {
    const file = join(directory, 'kept.pem');
    const signer = await openSigner(file, true);
    const { jwks } = signer;
    const text = readFileSync(file, 'utf8');
    rmSync(file);
    execFileSync('mkdir', ['-p', join(file, 'in the way')]);
    await expect(signer.replace(onlyKey(keys[0], 1, 1))).rejects.toMatchObject({ code: 'config_invalid' });
    expect(signer.jwks).toBe(jwks);
    rmSync(file, { recursive: true });
    writeFileSync(file, text);
  });

  it('gives out no token of a key that was dropped while it signed', async () => {
    const signer = await openSigner(join(directory, 'dropped.pem'), true);
    const ring = onlyKey(keys[1], 1, 1);
    const dropping = signer.replace(ring);
    const tokens = await Promise.all([
      ...Array.from({ length: 40 }, () => signer.sign({ sub: 'x' })),
      dropping.then(() => signer.sign({ sub: 'x' })),
    ]);
    // Whatever was given out before the drop may be of the old key; what came after it may not.
    expect(decodeProtectedHeader(tokens.at(-1)!).kid).toBe(ring.signing.kid);
    expect(decodeProtectedHeader(await signer.sign({ sub: 'x' })).kid).toBe(ring.signing.kid);
  });
});

describe('what a change of the key needs next', () => {
  const rules = { ageSeconds: 1000, waitSeconds: 30 };
  const ring = (): KeyRing => onlyKey(keys[0], 1000, 300);
  const ahead = (publishedAt?: number): KeyRing => ({ ...ring(), next: { ...asNext(keys[1], 2000), publishedAt } });
  const all = () => true;
  const none = () => false;

  it('nothing before its age; then a new key', () => {
    expect(nextStep(ring(), rules, all, 1999)).toBeUndefined();
    expect(nextStep(ring(), rules, all, 2000)).toEqual({ do: 'make' });
    expect(nextStep(ring(), { ...rules, ageSeconds: 0 }, all, 9e9)).toBeUndefined();
  });

  it('a key signs only when the mesh has it, and has had it for the wait', () => {
    const { kid } = ahead().next!;
    expect(nextStep(ahead(), rules, none, 9e9)).toBeUndefined();
    expect(nextStep(ahead(), rules, all, 2010)).toEqual({ do: 'note', kid });
    expect(nextStep(ahead(2010), rules, all, 2039)).toBeUndefined();
    expect(nextStep(ahead(2010), rules, all, 2040)).toEqual({ do: 'sign', kid });
    // A broker that has just started does not know yet what the mesh has.
    expect(nextStep(ahead(2010), rules, none, 2040)).toBeUndefined();
  });

  it('a retired key goes when its last token has expired, and not while another change waits for the mesh', () => {
    const after = signWithNext(ahead(2010), 2040, 300);
    const [{ kid }] = after.retired as unknown as [{ kid: string }];
    expect(nextStep(after, rules, all, 2399)).toBeUndefined();
    expect(nextStep(after, rules, all, 2400)).toEqual({ do: 'drop', kids: [kid] });
    expect(nextStep({ ...after, next: asNext(keys[2], 2050) }, rules, none, 2400)).toEqual({ do: 'drop', kids: [kid] });
    // Of a key that somebody put into the file we do not know.
    expect(nextStep({ ...ring(), retired: [{ ...after.retired[0]!, until: undefined }] }, rules, all, 1999)).toBe(
      undefined,
    );
  });
});

describe('a file of signing keys that is somebody else’s', () => {
  const file = (...order: number[]) => readRing(order.map((index) => pem(keys[index]!)).join(''), NEW);
  const kid = (index: number) => file(index).signing.kid;
  const knows =
    (...indexes: number[]) =>
    (one: string) =>
      indexes.map(kid).includes(one);

  it('is followed, and a key that is new in front waits until it is known', () => {
    const waiting = ringInForce(file(1, 0), file(0), knows(0));
    expect(waiting.signing.kid).toBe(kid(0));
    expect(kids(waiting)).toEqual([kid(0), kid(1)]);
    expect(ringInForce(file(1, 0), waiting, knows(0, 1)).signing.kid).toBe(kid(1));
    // Behind the one that signs it is published, and no more.
    expect(kids(ringInForce(file(0, 1), file(0), knows()))).toEqual([kid(0), kid(1)]);
    expect(kids(ringInForce(file(1), file(1, 0), knows(0, 1)))).toEqual([kid(1)]);
  });

  it('has the last word where the key that signed is gone from it', () => {
    expect(kids(ringInForce(file(1, 2), file(0), knows(0)))).toEqual([kid(1), kid(2)]);
  });
});
