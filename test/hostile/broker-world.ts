/** The real broker, and a session of it whose key and token this process holds: what its requests are made of. */
import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { SESSION_TOKEN_TYPE } from '@meshpass/identity';
import { type DataPath, idTokenProof, openDataPath } from '../mesh.ts';
import { type Answered, ask, type Target } from './requests.ts';

export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const FORM = ['Content-Type', 'application/x-www-form-urlencoded'] as const;

export interface HeldSession {
  readonly id: string;
  readonly token: string;
  readonly key: KeyObject;
}

export interface BrokerWorld {
  readonly dataPath: DataPath;
  readonly broker: Target;
  readonly operator: Target;
  readonly url: string;
  readonly session: HeldSession;
  /** Somebody else's. */
  readonly other: HeldSession;
}

export async function openBroker(): Promise<BrokerWorld> {
  const dataPath = await openDataPath();
  const { lab, meshpass } = dataPath;
  const host = lab.hosts.meshpass!.ip;
  const { hostname, port } = new URL(meshpass.brokerUrl);
  const broker = { host, port: Number(port), tls: { name: hostname, caFile: lab.testCa } };
  const operator = { host, port: Number(new URL(meshpass.operatorUrl).port) };
  const place = { dataPath, broker, url: meshpass.brokerUrl };
  return { ...place, operator, session: await open(place), other: await open(place) };
}

type Place = Pick<BrokerWorld, 'dataPath' | 'broker' | 'url'>;

async function open({ dataPath, broker, url }: Place): Promise<HeldSession> {
  const key = p256();
  const answer = await enrol(broker, await proofForm(dataPath), proof({ key, method: 'POST', url: `${url}/token` }));
  if (!answer.accepted) throw new Error(`no session: ${answer.answer}`);
  return { id: answer.json.session.id, token: dataPath.secret(answer.json.access_token), key };
}

/** Form of an honest enrolment of a developer without a session. */
export async function proofForm(dataPath: DataPath): Promise<Record<string, string>> {
  const subject = `hostile-${randomUUID()}`;
  const claims = { email: `${subject}@acme.com`, email_verified: true, groups: ['sre'] };
  return { grant_type: EXCHANGE, ...idTokenProof(dataPath.secret(await dataPath.idp.idToken({ subject, claims }))) };
}

export function enrol(broker: Target, form: Record<string, string>, dpop: string): Promise<Answered> {
  const body = new URLSearchParams(form).toString();
  return ask(broker, { method: 'POST', path: '/token', headers: [...FORM, 'DPoP', dpop], body });
}

/** The form of an honest exchange of a session token. */
export function renewalForm({ token }: Pick<HeldSession, 'token'>): Record<string, string> {
  return { grant_type: EXCHANGE, subject_token: token, subject_token_type: SESSION_TOKEN_TYPE };
}

export function p256(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

export interface ProofParts {
  readonly key: KeyObject;
  readonly method: string;
  readonly url: string;
  readonly token?: string;
}

type Json = Record<string, unknown>;

/** Claims of an honest proof, to be changed before signing. */
export interface Draft {
  header: Json;
  claims: Json;
  key: KeyObject;
  /** The compact form from its two texts. */
  seal: (input: string, key: KeyObject) => string;
}

export function draftProof({ key, method, url, token }: ProofParts): Draft {
  return {
    header: { typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(key) },
    claims: {
      jti: randomUUID(),
      htm: method,
      htu: url,
      iat: Math.floor(Date.now() / 1000),
      ...(token !== undefined && { ath: createHash('sha256').update(token).digest('base64url') }),
    },
    key,
    seal: (input, signer) => `${input}.${es256(input, signer).toString('base64url')}`,
  };
}

export function sealed({ header, claims, key, seal }: Draft): string {
  return seal(`${encode(header)}.${encode(claims)}`, key);
}

export function proof(parts: ProofParts): string {
  return sealed(draftProof(parts));
}

export function publicJwk(key: KeyObject): Json {
  const { d: _, ...jwk } = key.export({ format: 'jwk' });
  return jwk;
}

export function es256(input: string, key: KeyObject): Buffer {
  return sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
}

export function encode(json: unknown): string {
  return Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)).toString('base64url');
}

/** Headers of an honest request of the session. */
export function asSession({ url, session }: BrokerWorld, method: string, path: string): string[] {
  const { key, token } = session;
  return ['Authorization', `DPoP ${token}`, 'DPoP', proof({ key, method, url: url + path, token })];
}
