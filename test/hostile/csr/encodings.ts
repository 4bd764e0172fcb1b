/** Texts that are no certificate request, are more than one, or mean different things to different readers. */
import { generateKeyPairSync } from 'node:crypto';
import type { HostileInput } from '../area.ts';
import { challenge, csr, pem, tlv } from './der.ts';
import { ask, type CsrWorld, send } from './world.ts';

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const HONEST = csr({ keys });
const TEXT = pem(HONEST);

const input = (fault: string, text: string, code = 'csr_malformed'): HostileInput<CsrWorld> => ({
  fault,
  code,
  attack: (world) => ask(world, text),
  control: (world) => ask(world, TEXT),
});

/** The outermost length in one byte more than it needs: BER, and not DER (X.690, section 10.1). */
function longLength(): Buffer {
  const body = HONEST.subarray(HONEST[1]! < 0x80 ? 2 : 3);
  return Buffer.concat([Buffer.of(0x30, 0x83, 0, body.length >> 8, body.length & 0xff), body]);
}

function indefinite(): Buffer {
  const body = HONEST.subarray(HONEST[1]! < 0x80 ? 2 : 3);
  return Buffer.concat([Buffer.of(0x30, 0x80), body, Buffer.of(0, 0)]);
}

/** Number of nested elements at which a recursive reader overflows its stack. */
function nested(depth: number): Buffer {
  let inner = tlv(0x05);
  for (let level = 0; level < depth; level += 1) inner = tlv(0x30, inner);
  return inner;
}

const huge = (bytes: number) => pem(csr({ keys, attributes: [challenge('A'.repeat(bytes))] }));
const base64 = HONEST.toString('base64');
const [first, second] = TEXT.split('\n');

const TEXTS: readonly HostileInput<CsrWorld>[] = [
  input('nothing', '', 'request_malformed'),
  input('no PEM', 'give me a certificate'),
  input('base64 without PEM', base64),
  input('bytes that are no request', pem(Buffer.from('no certificate request at all'))),
  input('half of a request', pem(HONEST.subarray(0, HONEST.length / 2))),
  input('a request that lacks its last byte', pem(HONEST.subarray(0, -1))),
  input('bytes after the request', pem(Buffer.concat([HONEST, Buffer.of(0)]))),
  input('a second request in the same block', pem(Buffer.concat([HONEST, HONEST]))),
  input('two requests', TEXT + TEXT),
  input('a request and a private key', TEXT + keys.privateKey.export({ type: 'pkcs8', format: 'pem' })),
  input('text before the request', `Certificate Request:\n${TEXT}`),
  input('text after the request', `${TEXT}and more\n`),
  input('a PEM header', TEXT.replace(`${first}\n`, `${first}\nProc-Type: 4,ENCRYPTED\n\n`)),
  input('a request called a certificate', pem(HONEST, 'CERTIFICATE')),
  input('a public key called a request', pem(keys.publicKey.export({ type: 'spki', format: 'der' }))),
  input('a request called a new one', pem(HONEST, 'NEW CERTIFICATE REQUEST')),
  input('the alphabet of URLs', TEXT.replace(second!, `-_${second!.slice(2)}`)),
  input('a NUL in the text', TEXT.replace('\n', '\n\0')),
  input('a PEM within a PEM', pem(Buffer.from(TEXT))),
  input('a length in more bytes than it needs', pem(longLength())),
  input('an indefinite length', pem(indefinite())),
  input('a version that does not exist', pem(csr({ keys, version: 1 }))),
  input('a thousand elements inside each other', pem(nested(1_000))),
  input('a request of more than 8 KiB', huge(9_000), 'csr_too_large'),
  input('a request of more than a body may have', `${TEXT}${'\n'.repeat(80_000)}`, 'request_too_large'),
];

const one = { grant: 'payments-dev', csr: TEXT };
const body = (fault: string, json: unknown, code = 'request_malformed'): HostileInput<CsrWorld> => ({
  fault,
  code,
  attack: (world) => send(world, json),
  control: (world) => send(world, { certificates: [one] }),
});

const BODIES: readonly HostileInput<CsrWorld>[] = [
  body('the same grant twice in a body', { certificates: [one, one] }),
  body('a thousand requests in a body', {
    certificates: Array.from({ length: 100 }, () => ({ grant: 'x', csr: 'x' })),
  }),
  body('a list of requests for one grant', { certificates: [{ ...one, csr: [TEXT, TEXT] }] }),
  body('a body that is a list', [one]),
  body('no requests in a body', { certificates: [] }),
];

export const ENCODINGS: readonly HostileInput<CsrWorld>[] = [...TEXTS, ...BODIES];
