/** DPoP proofs that are almost right, against the real broker. */
import { createHmac, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { dpopThumbprint } from '@meshpass/identity';
import type { HostileArea, HostileInput } from './area.ts';
import {
  type BrokerWorld,
  type Draft,
  draftProof,
  encode,
  es256,
  openBroker,
  p256,
  publicJwk,
  sealed,
} from './broker-world.ts';
import { type Answered, ask } from './requests.ts';
import { EXCHANGES, SESSION_TOKENS } from './session-tokens.ts';

type Input = HostileInput<BrokerWorld>;

/** `GET /services` of the session, with the proof as it is made of the changed parts. */
async function services(world: BrokerWorld, headers: (draft: Draft) => readonly string[]): Promise<Answered> {
  const { key, token } = world.session;
  const draft = draftProof({ key, method: 'GET', url: `${world.url}/services`, token });
  const given = headers(draft);
  const authorized = given.includes('Authorization') ? given : ['Authorization', `DPoP ${token}`, ...given];
  return await ask(world.broker, { method: 'GET', path: '/services', headers: authorized });
}

const honest = (world: BrokerWorld) => services(world, (draft) => ['DPoP', sealed(draft)]);

/** @param change of an honest proof, before it is signed */
function changed(fault: string, code: string, change: (draft: Draft, world: BrokerWorld) => unknown): Input {
  return {
    fault,
    code,
    control: honest,
    attack: (world) =>
      services(world, (draft) => {
        change(draft, world);
        return ['DPoP', sealed(draft)];
      }),
  };
}

/** @param change of the finished proof */
function rewritten(fault: string, code: string, change: (jws: string, draft: Draft) => readonly string[]): Input {
  return {
    fault,
    code,
    control: honest,
    attack: (world) => services(world, (draft) => change(sealed(draft), draft)),
  };
}

const MALFORMED = 'dpop_malformed';
const claim = (fault: string, code: string, claims: Record<string, unknown>) =>
  changed(fault, code, (draft) => Object.assign(draft.claims, claims));
const header = (fault: string, members: Record<string, unknown>, code = MALFORMED) =>
  changed(fault, code, (draft) => Object.assign(draft.header, members));
const url = (fault: string, htu: (base: URL) => string) =>
  changed(fault, 'dpop_mismatch', (draft, world) => {
    draft.claims.htu = htu(new URL(world.url));
  });
/** Signed by another algorithm, with a key that it takes, which the header names. */
const algorithm = (alg: string, key: KeyObject, hash: string | null) =>
  changed(`a proof of ${alg}, rightly signed`, MALFORMED, (draft) => {
    Object.assign(draft.header, { alg, jwk: publicJwk(key) });
    draft.seal = (input) => `${input}.${sign(hash, Buffer.from(input), key).toString('base64url')}`;
  });

const now = () => Math.floor(Date.now() / 1000);
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const P384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
const SECP256K1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey;
const ED25519 = generateKeyPairSync('ed25519').privateKey;

const ALGORITHMS: readonly Input[] = [
  changed('a proof of alg none without a signature', MALFORMED, (draft) => {
    draft.header.alg = 'none';
    draft.seal = (input) => `${input}.`;
  }),
  header('a proof of alg none with the right signature', { alg: 'none' }),
  header('a proof whose alg is spelled in lower case', { alg: 'es256' }),
  changed('a proof of HS256 with the public key as the secret', MALFORMED, (draft) => {
    draft.header.alg = 'HS256';
    const secret = JSON.stringify(draft.header.jwk);
    draft.seal = (input) => `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
  }),
  algorithm('RS256', RSA, 'sha256'),
  algorithm('PS256', RSA, 'sha256'),
  algorithm('ES384', P384, 'sha384'),
  algorithm('EdDSA', ED25519, null),
  changed('a proof of ES256 with a key of secp256k1', MALFORMED, (draft) => {
    draft.header.jwk = publicJwk(SECP256K1);
    draft.seal = (input) => `${input}.${es256(input, SECP256K1).toString('base64url')}`;
  }),
];

const KEYS: readonly Input[] = [
  changed('a proof with the private key in its jwk', MALFORMED, (draft) => {
    draft.header.jwk = draft.key.export({ format: 'jwk' });
  }),
  header('a proof without a jwk', { jwk: undefined }),
  header('a proof whose jwk is null', { jwk: null }),
  changed('a proof whose jwk is a list of keys', MALFORMED, (draft) => {
    draft.header.jwk = [draft.header.jwk];
  }),
  changed('a proof that names its key by kid only', MALFORMED, (draft) => {
    draft.header = { typ: 'dpop+jwt', alg: 'ES256', kid: thumbprint(draft.key) };
  }),
  changed('a proof of another key that names the right one by kid', 'dpop_key_mismatch', (draft) => {
    draft.header.kid = thumbprint(draft.key);
    draft.key = p256();
    draft.header.jwk = publicJwk(draft.key);
  }),
  header('a proof that names its key by URL', { jwk: undefined, jku: 'https://evil.example/jwks' }),
  header('a proof that names its key by certificate', { jwk: undefined, x5c: ['MIIB'] }),
  changed('a proof by another key', 'dpop_key_mismatch', (draft) => {
    draft.key = p256();
    draft.header.jwk = publicJwk(draft.key);
  }),
  changed('a proof that another key signed', 'dpop_signature', (draft) => {
    draft.key = p256();
  }),
  changed('a proof of an octet key', MALFORMED, (draft) => {
    draft.header.jwk = { kty: 'oct', k: randomBytes(32).toString('base64url') };
  }),
];

const HEADERS: readonly Input[] = [
  header('a proof of typ JWT', { typ: 'JWT' }),
  header('a proof without a typ', { typ: undefined }),
  header('a proof whose typ is spelled in upper case', { typ: 'dpop+JWT' }),
  header('a proof with a critical extension', { crit: ['b64'], b64: false }),
  header('a proof with an empty crit', { crit: [] }),
];

const CLAIMS: readonly Input[] = [
  claim('a proof whose htm is in lower case', 'dpop_mismatch', { htm: 'get' }),
  claim('a proof for another method', 'dpop_mismatch', { htm: 'POST' }),
  claim('a proof whose htm has a space', 'dpop_mismatch', { htm: 'GET ' }),
  claim('a proof without htm', MALFORMED, { htm: undefined }),
  claim('a proof without htu', MALFORMED, { htu: undefined }),
  claim('a proof whose htu is a list', MALFORMED, { htu: ['https://broker.meshpass.test:8443/services'] }),
  url('a proof for another port', ({ hostname }) => `https://${hostname}/services`),
  url('a proof for plain HTTP', ({ host }) => `http://${host}/services`),
  url('a proof for another host', ({ port }) => `https://evil.example:${port}/services`),
  url('a proof for a path in another case', ({ origin }) => `${origin}/Services`),
  url('a proof for a path with a slash more', ({ origin }) => `${origin}/services/`),
  url('a proof for another path', ({ origin }) => `${origin}/token`),
  url('a proof with the path in the query', ({ origin }) => `${origin}/?/services`),
  url('a proof with the path in the fragment', ({ origin }) => `${origin}/#/services`),
  url('a proof for a path that leaves the right one', ({ origin }) => `${origin}/services/../token`),
  url('a proof for a URL with a user', ({ host }) => `https://broker@${host}/services`),
  url('a proof for a path without a host', () => '/services'),
  url('a proof for nothing', () => ''),
  changed('a proof whose htu has a line break that URL readers skip', MALFORMED, (draft) => {
    draft.claims.htu = String(draft.claims.htu).replace('services', 'serv\nices');
  }),
  claim('a proof without ath', 'dpop_mismatch', { ath: undefined }),
  claim('a proof whose ath is empty', 'dpop_mismatch', { ath: '' }),
  changed('a proof bound to another session token', 'dpop_mismatch', (draft, { other, url: base }) => {
    draft.claims.ath = draftProof({ ...other, method: 'GET', url: base }).claims.ath;
  }),
  changed('a proof whose ath has padding', 'dpop_mismatch', (draft) => {
    draft.claims.ath = `${draft.claims.ath}=`;
  }),
  changed('a proof whose ath is hex', 'dpop_mismatch', (draft) => {
    draft.claims.ath = Buffer.from(String(draft.claims.ath), 'base64url').toString('hex');
  }),
  changed('a proof whose ath is the token itself', 'dpop_mismatch', (draft, { session }) => {
    draft.claims.ath = session.token;
  }),
  claim('a proof without jti', MALFORMED, { jti: undefined }),
  claim('a proof whose jti is empty', MALFORMED, { jti: '' }),
  claim('a proof whose jti is a number', MALFORMED, { jti: 7 }),
  claim('a proof whose jti is too long', MALFORMED, { jti: 'j'.repeat(257) }),
  claim('a proof whose jti has a control character', MALFORMED, { jti: 'one\u0000two' }),
  claim('a proof without iat', MALFORMED, { iat: undefined }),
  changed('a proof whose iat is text', MALFORMED, (draft) => {
    draft.claims.iat = String(draft.claims.iat);
  }),
  changed('a proof whose iat is a fraction', MALFORMED, (draft) => {
    draft.claims.iat = now() + 0.5;
  }),
  claim('a proof whose iat is negative', 'dpop_expired', { iat: -1 }),
  claim('a proof whose iat is beyond all integers', MALFORMED, { iat: 1e300 }),
  claim('a proof whose iat is in milliseconds', 'dpop_expired', { iat: Date.now() }),
  changed('a proof that is too old', 'dpop_expired', (draft) => {
    draft.claims.iat = now() - 120;
  }),
  changed('a proof from the future', 'dpop_expired', (draft) => {
    draft.claims.iat = now() + 120;
  }),
  changed('a proof that has expired by its own exp', 'dpop_expired', (draft) => {
    draft.claims.exp = now() - 1;
  }),
  changed('a proof that is not valid yet by its own nbf', 'dpop_expired', (draft) => {
    draft.claims.nbf = now() + 60;
  }),
];

const FORMS: readonly Input[] = [
  rewritten('no proof', 'dpop_missing', () => []),
  rewritten('an empty proof', MALFORMED, () => ['DPoP', '']),
  rewritten('two proofs in two headers', MALFORMED, (jws) => ['DPoP', jws, 'DPoP', jws]),
  rewritten('two proofs in one header', MALFORMED, (jws) => ['DPoP', `${jws},${jws}`]),
  rewritten('a proof that another follows, by another key', MALFORMED, (jws, draft) => {
    const key = p256();
    return ['DPoP', jws, 'DPoP', sealed({ ...draft, key, header: { ...draft.header, jwk: publicJwk(key) } })];
  }),
  rewritten('a proof with a signature in DER', 'dpop_signature', (jws, { key }) => {
    const input = jws.slice(0, jws.lastIndexOf('.'));
    return ['DPoP', `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`];
  }),
  rewritten('a proof whose signature is cut', 'dpop_signature', (jws) => ['DPoP', jws.slice(0, -4)]),
  rewritten('a proof whose signature is all zeros', 'dpop_signature', (jws) => [
    ...['DPoP', `${jws.slice(0, jws.lastIndexOf('.'))}.${Buffer.alloc(64).toString('base64url')}`],
  ]),
  rewritten('a proof whose claims were changed after it was signed', 'dpop_signature', (jws, draft) => {
    const [head, , signature] = jws.split('.');
    return ['DPoP', `${head}.${encode({ ...draft.claims, jti: 'another' })}.${signature}`];
  }),
  rewritten('a proof with base64 padding', MALFORMED, (jws) => ['DPoP', `${jws}==`]),
  rewritten('a proof of four parts', MALFORMED, (jws) => ['DPoP', `${jws}.x`]),
  rewritten('a proof without its claims', MALFORMED, (jws) => {
    const [head, , signature] = jws.split('.');
    return ['DPoP', `${head}..${signature}`];
  }),
  changed('a proof in JWS JSON serialization', MALFORMED, (draft) => {
    draft.seal = (input, key) => {
      const [head, payload] = input.split('.');
      return JSON.stringify({ protected: head, payload, signature: es256(input, key).toString('base64url') });
    };
  }),
  changed('a proof that is longer than any', MALFORMED, (draft) => {
    draft.claims.more = 'x'.repeat(4_096);
  }),
  changed('a proof whose claims are a list', MALFORMED, (draft) => {
    draft.claims = [draft.claims] as never;
  }),
];

async function twice(world: BrokerWorld, second: (jws: string) => Promise<Answered>): Promise<Answered> {
  let used = '';
  const first = await services(world, (draft) => {
    used = sealed(draft);
    return ['DPoP', used];
  });
  if (!first.accepted) throw new Error(`the first use was refused: ${first.answer}`);
  return await second(used);
}

const REPLAYS: readonly Input[] = [
  {
    fault: 'a proof that was used before',
    code: 'dpop_replayed',
    control: honest,
    attack: (world) => twice(world, (jws) => services(world, () => ['DPoP', jws])),
  },
  {
    fault: 'a jti that was used before, in a new proof',
    code: 'dpop_replayed',
    control: honest,
    attack: (world) =>
      twice(world, (jws) =>
        services(world, (draft) => {
          const { jti } = JSON.parse(Buffer.from(jws.split('.')[1]!, 'base64url').toString()) as { jti: string };
          draft.claims.jti = jti;
          return ['DPoP', sealed(draft)];
        }),
      ),
  },
];

function thumbprint(key: KeyObject): string {
  return dpopThumbprint(publicJwk(key) as never);
}

export const dpop: HostileArea<BrokerWorld> = {
  name: 'broker: DPoP proofs and session tokens',
  open: openBroker,
  close: ({ dataPath }) => dataPath.close(),
  inputs: [
    ...[...ALGORITHMS, ...KEYS, ...HEADERS, ...CLAIMS, ...FORMS, ...REPLAYS],
    ...[...SESSION_TOKENS, ...EXCHANGES],
  ],
};
