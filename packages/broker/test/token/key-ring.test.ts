import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  initialKeys,
  type KeyRing,
  parseKeys,
  publishedKeys,
  type StoredKeys,
  serializeJwks,
  serializeKeys,
  signWithNext,
  signWithNextOnly,
  toNextKey,
} from '../../src/core/token/key-ring.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { nextRotationStep } from '../../src/core/token/rotation.ts';
import { openSigner } from '../../src/core/token/signer.ts';

const rsa = (bits = 2048): KeyObject => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const kids = (ring: KeyRing) =>
  (JSON.parse(serializeJwks(ring)) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
const kidsOf = ({ signing, retired }: StoredKeys) => [signing, ...retired].map(({ kid }) => kid);

let directory: string;
let keys: readonly [KeyObject, KeyObject, KeyObject];
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-ring-'));
  keys = [rsa(), rsa(), rsa()];
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the file of the signing keys', () => {
  it('holds each key with its part, and of a key that signs no more only the public half', () => {
    const first = initialKeys(keys[0], 1000, 300);
    const ahead = { ...first, next: { ...toNextKey(keys[1]), publishedAt: 2005 }, requestedAt: 2006 };
    const after = signWithNext(ahead, 2400, 600);
    expect(after).toMatchObject({
      signing: { kid: ahead.next.kid, since: 2400, tokenSeconds: 600 },
      retired: [{ kid: first.signing.kid, until: 2400 + 300 + 60 }],
    });
    for (const stored of [first, ahead, after]) {
      const text = serializeKeys(stored);
      const again = parseKeys(text);
      expect(serializeKeys(again)).toBe(text);
      expect(kidsOf(again)).toEqual(kidsOf(stored));
      expect(again.requestedAt).toBe(stored.requestedAt);
    }
    expect(serializeKeys(after).match(/PRIVATE KEY-----\n/g)).toHaveLength(2);
    expect(serializeKeys(after)).not.toContain(pem(keys[0]).split('\n')[3]);
    expect(kids(ahead)).toEqual([first.signing.kid, ahead.next.kid]);
    expect(serializeJwks(ahead)).not.toMatch(/"d"|"p"|"q"/);
  });

  it('never has the next key, which replaces one that was stolen with the file', () => {
    const ring = { ...initialKeys(keys[0], 1000, 300), next: toNextKey(keys[1]), requestedAt: 2006 };
    expect(serializeKeys(ring).match(/-----BEGIN/g)).toHaveLength(1);
    for (const line of pem(keys[1]).split('\n').slice(1, -2)) expect(serializeKeys(ring)).not.toContain(line);
    expect(signWithNextOnly(ring, 2400, 600)).toEqual({
      signing: { ...toNextKey(keys[1]), since: 2400, tokenSeconds: 600 },
      retired: [],
    });
  });

  it.each([
    ['is empty', () => ''],
    [
      'has a public key that is to sign',
      () => serializeKeys(initialKeys(keys[0], 1, 1)).replaceAll('PRIVATE', 'PUBLIC'),
    ],
    [
      'has two keys that sign',
      () => serializeKeys(initialKeys(keys[0], 1, 1)) + serializeKeys(initialKeys(keys[1], 1, 1)),
    ],
    ['has a part that does not exist', () => serializeKeys(initialKeys(keys[0], 1, 1)).replace('signing', 'shining')],
    ['has a key without a part', () => serializeKeys(initialKeys(keys[0], 1, 1)) + pem(keys[1])],
    ['has text that no broker wrote', () => `${serializeKeys(initialKeys(keys[0], 1, 1))}# kept by hand\n`],
    ['has a damaged request', () => `Meshpass-Rotation-Requested-At: x\n${serializeKeys(initialKeys(keys[0], 1, 1))}`],
    [
      'has a key that was cut off',
      () =>
        serializeKeys(signWithNext({ ...initialKeys(keys[0], 1, 1), next: toNextKey(keys[1]) }, 2, 1)).slice(0, -30),
    ],
    ['has a short key', () => serializeKeys(initialKeys(rsa(1024), 1, 1))],
    ['has a broken key', () => serializeKeys(initialKeys(keys[0], 1, 1)).replace(/\n[A-Za-z0-9+/]{64}\n/, '\n')],
  ])('is refused, and not quoted, when it %s', (_, text) => {
    expect.assertions(2);
    try {
      parseKeys(text());
    } catch (error) {
      expect(error).toMatchObject({ code: 'config_invalid' });
      expect(`${(error as Error).message} ${(error as Error).cause}`).not.toMatch(/[A-Za-z0-9+/]{40}/);
    }
  });

  it('is readable by OpenSSL, with the signing key first', () => {
    const file = join(directory, 'openssl.pem');
    writeFileSync(file, serializeKeys({ ...initialKeys(keys[0], 1000, 300), requestedAt: 2000 }));
    const modulus = execFileSync('openssl', ['rsa', '-in', file, '-noout', '-modulus'], { stdio: 'pipe' }).toString();
    const { n } = keys[0].export({ format: 'jwk' });
    expect(modulus.trim()).toBe(`Modulus=${Buffer.from(n!, 'base64url').toString('hex').toUpperCase()}`);
  });
});

describe('a signer', () => {
  it('replaces its file as a whole, readable by its owner only, over the leftovers of an earlier attempt', async () => {
    const file = join(directory, 'replaced.pem');
    const signer = await openSigner(keyFileStorage(file));
    const before = signer.kid;
    writeFileSync(`${file}.next`, 'cut off in the mid');
    chmodSync(`${file}.next`, 0o644);
    const next = toNextKey(keys[2]);
    await signer.replace({ ...signWithNext(signer.ring, 2, 300), next });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file}.next`)).toBe(false);
    expect(signer.kid).not.toBe(before);
    expect(signer.knows(before)).toBe(true);
    const again = await openSigner(keyFileStorage(file));
    expect(kidsOf(again.ring)).toEqual(kidsOf(signer.ring));
    // It is in the memory of one process.
    expect(again.knows(next.kid)).toBe(false);
    const token = await again.sign({ sub: 'x' });
    await jwtVerify(token, createLocalJWKSet(JSON.parse(signer.jwks)));
  });

  it('stays unchanged if the file cannot be written', async () => {
    const file = join(directory, 'kept.pem');
    const signer = await openSigner(keyFileStorage(file));
    const { jwks } = signer;
    const text = readFileSync(file, 'utf8');
    rmSync(file);
    execFileSync('mkdir', ['-p', join(file, 'in the way')]);
    const ring = { ...initialKeys(keys[0], 1, 1), next: signer.ring.next };
    await expect(signer.replace(ring)).rejects.toMatchObject({ code: 'config_invalid' });
    expect(signer.jwks).toBe(jwks);
    rmSync(file, { recursive: true });
    writeFileSync(file, text);
  });

  it('issues no token of a key that was dropped while it signed', async () => {
    const signer = await openSigner(keyFileStorage(join(directory, 'dropped.pem')));
    const ring = { ...initialKeys(keys[1], 1, 1), next: signer.ring.next };
    const dropping = signer.replace(ring);
    const tokens = await Promise.all([
      ...Array.from({ length: 40 }, () => signer.sign({ sub: 'x' })),
      dropping.then(() => signer.sign({ sub: 'x' })),
    ]);
    // Tokens from before the drop may have the old key; later ones may not.
    expect(decodeProtectedHeader(tokens.at(-1)!).kid).toBe(ring.signing.kid);
    expect(decodeProtectedHeader(await signer.sign({ sub: 'x' })).kid).toBe(ring.signing.kid);
  });
});

describe('next step of a change of the key', () => {
  const rules = { ageSeconds: 1000, waitSeconds: 30 };
  const ring = (publishedAt?: number): KeyRing => ({
    ...initialKeys(keys[0], 1000, 300),
    next: { ...toNextKey(keys[1]), publishedAt },
  });
  const all = () => true;
  const none = () => false;

  it('nothing before its age, unless an operator asks; then the key that has been published for long enough signs', () => {
    const { kid } = ring().next;
    expect(nextRotationStep(ring(1500), rules, all, 1999)).toBeUndefined();
    expect(nextRotationStep(ring(1500), rules, all, 2000)).toEqual({ do: 'sign', kid });
    expect(nextRotationStep(ring(1500), { ...rules, ageSeconds: 0 }, all, 9e9)).toBeUndefined();
    expect(nextRotationStep({ ...ring(1500), requestedAt: 1600 }, rules, all, 1600)).toEqual({ do: 'sign', kid });
  });

  it('a key signs only when the mesh has it, and has had it for the wait', () => {
    const { kid } = ring().next;
    expect(nextRotationStep(ring(), rules, none, 9e9)).toBeUndefined();
    expect(nextRotationStep(ring(), rules, all, 2010)).toEqual({ do: 'note', kid });
    expect(nextRotationStep(ring(2010), rules, all, 2039)).toBeUndefined();
    expect(nextRotationStep(ring(2010), rules, all, 2040)).toEqual({ do: 'sign', kid });
    expect(nextRotationStep({ ...ring(1010), requestedAt: 1010 }, rules, all, 1039)).toBeUndefined();
    // A broker that has just started does not know yet which keys the mesh has.
    expect(nextRotationStep(ring(2010), rules, none, 2040)).toBeUndefined();
  });

  it('a retired key goes when its last token has expired, and not while another change waits for the mesh', () => {
    const after = { ...signWithNext(ring(2010), 2040, 300), next: { ...toNextKey(keys[2]), publishedAt: 2050 } };
    expect(publishedKeys(after)).toHaveLength(3);
    const [{ kid }] = after.retired as unknown as [{ kid: string }];
    expect(nextRotationStep(after, rules, all, 2399)).toBeUndefined();
    expect(nextRotationStep(after, rules, all, 2400)).toEqual({ do: 'drop', kids: [kid] });
    expect(nextRotationStep({ ...after, requestedAt: 2300 }, rules, none, 2400)).toEqual({ do: 'drop', kids: [kid] });
  });
});
