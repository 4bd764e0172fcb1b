/** A whole broker on a real store, and a client that speaks to it as an agent does. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createCsr, createDpopProof, type DpopKey, dpopKey } from '@meshpass/identity';
import {
  createLeaseProof,
  createStatementReader,
  type EndedStatement,
  type LeaseStatement,
} from '@meshpass/identity/channel';
import type { SessionResponse } from '@meshpass/identity/wire';
import { addPartLog } from '../../../../test/runner/part-logs.ts';
import { CONFIRM_INTERVAL_SECONDS, labOnlyConfirmSeconds } from '../../src/admin/operator/sessions.ts';
import { createLogger } from '../../src/base/telemetry/log.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import { type BrokerConfigInput, parseBrokerConfig } from '../../src/start/config.ts';
import { type Broker, type BrokerParts, serveBroker } from '../../src/start/serve.ts';
import { writeCertificate } from './certificate.ts';
import { type PlayedIdp, playIdp } from './idp.ts';
import { type PlayedMesh, playMesh } from './mesh.ts';
import { releaseStore, reusedStore } from './store/engines.ts';
import { afterInitdb } from './store/initdb.ts';

export const OPERATOR_TOKEN = 'operator-token-of-the-tests-0123456789';
export const PUBLIC_URL = 'https://broker.example';

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: an answer is looked at by tests, member by member
  readonly json: any;
}

export interface Call {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string;
  /** Hangs up. */
  readonly signal?: AbortSignal;
}

export interface Harness {
  readonly dir: string;
  /** PEM file with the broker's certificate. */
  readonly caFile: string;
  readonly mesh: PlayedMesh;
  readonly idp: PlayedIdp;
  readonly broker: Broker;
  /** ms that the broker's clock runs ahead of the real one. */
  clockAhead: number;
  /** Fixed time that replaces the real clock while it is set, Unix ms. */
  clockStandsAt: number | undefined;
  /** Seconds after which the issuer must confirm an operator again. */
  confirmSeconds: number;
  readonly call: (call: Call) => Promise<Answer>;
  readonly operatorCall: (call: string | Call) => Promise<Answer>;
  /** Resolves once the mesh has applied every revocation that was made before the call. */
  readonly revocationsSettled: () => Promise<void>;
  /** Stops the broker, runs the callback, and starts the broker again. */
  readonly restart: (meanwhile?: () => void | Promise<void>) => Promise<void>;
  readonly stop: () => Promise<void>;
  /** Lines of the log, JSON. */
  readonly log: string[];
  readonly now: () => number;
}

export interface HarnessOptions {
  readonly config?: Partial<BrokerConfigInput>;
  /** Whether the store has an engine of its own, which ends with the broker and leaves its files in `dir`. */
  readonly ownEngine?: boolean;
  /** Replace the harness's own parts. The function gets the broker's clock and the parts that exist before the broker starts. */
  readonly parts?: (clock: () => number, harness: Pick<Harness, 'idp' | 'mesh'>) => Partial<BrokerParts>;
}

/** Signing key of the first broker, for all later ones of this process: to generate an RSA key takes longer than to start the rest. */
let knownSigningKey: string | undefined;

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-broker-'));
  const mesh = playMesh();
  const idp = await playIdp();
  const tls = await writeCertificate(dir);
  const operatorTokenFile = join(dir, 'operator-token');
  writeFileSync(operatorTokenFile, `${OPERATOR_TOKEN}\n`, { mode: 0o600 });
  const log: string[] = [];
  addPartLog('broker', () => log);
  const dataDir = join(dir, 'data');
  if (options.ownEngine) await afterInitdb(dataDir);
  const { startEngine } = options.ownEngine ? {} : await reusedStore(dataDir);
  const signingKeyFile = join(dataDir, 'signing-key.pem');
  if (knownSigningKey !== undefined) {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(signingKeyFile, knownSigningKey, { mode: 0o600 });
  }
  const start = async () => {
    const config = parseBrokerConfig({
      publicUrl: PUBLIC_URL,
      listen: { host: '127.0.0.1', port: 0 },
      operator: { host: '127.0.0.1', port: 0 },
      tls: { certFile: tls.certFile, keyFile: tls.keyFile },
      dataDir,
      edge: { host: 'edge.example', port: 443 },
      operatorTokenFile,
      // Not the default: most tests are about something else than who operates.
      breakGlass: true,
      // Not the default: the mesh of the tests hears of every end.
      denyEnded: 'always',
      ...options.config,
    });
    const clock = () => (harness.clockStandsAt ?? Date.now()) + harness.clockAhead;
    const parts: BrokerParts = {
      attest: idp.attest,
      authorize: mesh.authorize,
      authority: mesh.authority,
      revoker: mesh.revoker,
      mesh,
      signer: await openSigner(keyFileStorage(signingKeyFile)),
      operators: { keys: idp.keys },
      reviewEdgeToken: async (token) => ['edge-token', 'another-edge-token'].includes(token),
      clock,
      startEngine,
      log: createLogger('broker', 'info', { write: (line) => log.push(line) }),
      ...options.parts?.(clock, harness),
    };
    const lab = { [labOnlyConfirmSeconds]: () => harness.confirmSeconds };
    return await serveBroker(config, {
      ...parts,
      ...(parts.operators && { operators: { ...parts.operators, ...lab } }),
    });
  };
  const agent = new Agent({ ca: tls.pem, keepAlive: true, maxSockets: 32 });
  const harness = {
    dir,
    caFile: tls.certFile,
    mesh,
    idp,
    log,
    clockAhead: 0,
    clockStandsAt: undefined,
    confirmSeconds: CONFIRM_INTERVAL_SECONDS,
  } as {
    -readonly [K in keyof Harness]: Harness[K];
  };
  harness.now = () => Math.floor(((harness.clockStandsAt ?? Date.now()) + harness.clockAhead) / 1000);
  harness.broker = await start();
  knownSigningKey ??= readFileSync(signingKeyFile, 'utf8');
  // DPoP proofs of the second in which a broker started are refused.
  harness.clockAhead += 1_500;
  harness.call = (call) => send(agent, harness.broker.port, call);
  harness.operatorCall = async (call) => {
    const { method = 'GET', path, headers = {}, body } = typeof call === 'string' ? { path: call } : call;
    const init = { method, headers: headers as Record<string, string>, body: body ?? null };
    const answer = await fetch(`http://127.0.0.1:${harness.broker.operatorPort}${path}`, init);
    const text = await answer.text();
    return { status: answer.status, headers: Object.fromEntries(answer.headers), text, json: parse(text) };
  };
  harness.revocationsSettled = async () => {
    const isSettled = async () =>
      /^meshpass_revocations_pending 0$/m.test((await harness.operatorCall('/metrics')).text);
    while (!(await isSettled())) await pause(10);
  };
  harness.restart = async (meanwhile) => {
    await harness.broker.close();
    await meanwhile?.();
    harness.broker = await start();
    harness.clockAhead += 1_500;
  };
  harness.stop = async () => {
    await harness.broker.close();
    await releaseStore(dataDir);
    agent.destroy();
    rmSync(dir, { recursive: true, force: true });
  };
  return harness;
}

export function send(agent: Agent, port: number, call: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', path, headers = {}, body, signal } = call;
    const request = httpsRequest(
      { agent, host: '127.0.0.1', servername: 'localhost', port, method, path, headers, ...(signal && { signal }) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode!, headers: response.headers, text, json: parse(text) });
        });
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function newKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

export interface ProofOptions {
  readonly key: DpopKey;
  readonly method?: string;
  readonly path?: string;
  readonly now: number;
  readonly accessToken?: string;
  readonly jti?: string;
}

export function dpop({
  key,
  method = 'POST',
  path = '/token',
  now,
  accessToken,
  jti = randomUUID(),
}: ProofOptions): string {
  const url = PUBLIC_URL + path;
  return createDpopProof({ key, method, url, now, jti, ...(accessToken === undefined ? {} : { accessToken }) });
}

export function form(members: Record<string, string>): string {
  return new URLSearchParams(members).toString();
}

export const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

/** `POST /token` with a proof of this subject. */
export async function enrol(harness: Harness, subject: string, key = newKey(), proof?: string): Promise<Answer> {
  const token = proof ?? (await harness.idp.prove(subject));
  return await harness.call({
    method: 'POST',
    path: '/token',
    headers: { ...FORM, dpop: dpop({ key, now: harness.now() }) },
    body: form({ grant_type: EXCHANGE, subject_token: token, subject_token_type: ID_TOKEN }),
  });
}

export interface Enrolled extends SessionResponse {
  readonly key: DpopKey;
}

export async function session(harness: Harness, subject: string): Promise<Enrolled> {
  const key = newKey();
  const answer = await enrol(harness, subject, key);
  if (answer.status !== 200) throw new Error(`enrolment answered ${answer.status} ${answer.text}`);
  return { ...answer.json, key };
}

/** A request of a session, proven as an agent proves it. */
export async function asSession(harness: Harness, who: Enrolled, call: Call): Promise<Answer> {
  const { method = 'GET', path } = call;
  const proof = dpop({ key: who.key, method, path, now: harness.now(), accessToken: who.access_token });
  return await harness.call({
    ...call,
    headers: { authorization: `DPoP ${who.access_token}`, dpop: proof, ...call.headers },
  });
}

/** `POST /token` with what the session has: its identity token, or what it asks for. */
export async function derive(harness: Harness, who: Enrolled, more: Record<string, string> = {}): Promise<Answer> {
  return await asSession(harness, who, {
    method: 'POST',
    path: '/token',
    headers: FORM,
    body: form({
      grant_type: EXCHANGE,
      subject_token: who.access_token,
      subject_token_type: 'urn:meshpass:token-type:session',
      ...more,
    }),
  });
}

export function newCsr(): string {
  return createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

export async function certificates(
  harness: Harness,
  who: Enrolled,
  grants: readonly string[],
  csr = newCsr(),
): Promise<Answer> {
  return await asSession(harness, who, {
    method: 'POST',
    path: '/certificates',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ certificates: grants.map((name) => ({ grant: name, csr })) }),
  });
}

/** Answer to a proven lease: the broker's verified statement, or its refusal. */
export type Renewal =
  | LeaseStatement
  | EndedStatement
  | { readonly kind: 'refused'; readonly status: number; readonly error_code: string };

/** Renews the lease as an agent does over HTTPS. @throws Error if the broker did not sign the answer */
export async function renewLease(harness: Harness, who: Enrolled): Promise<Renewal> {
  const at = (harness.clockStandsAt ?? Date.now()) + harness.clockAhead;
  return readRenewal(who, await harness.call(leaseCall(who, at)));
}

let seq = Date.now();

/** Returns the request with which an agent renews its lease. @param at Unix ms */
export function leaseCall({ session, key }: Enrolled, at: number): Call {
  const proof = createLeaseProof({ sid: session.id, seq: ++seq, at }, key);
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ leases: [{ session_id: session.id, proof }] });
  return { method: 'POST', path: '/leases', headers, body };
}

/** Reads the answer to `leaseCall`. @throws Error if the broker did not sign it */
export function readRenewal({ mesh }: Enrolled, { status, json }: Answer): Renewal {
  if (status !== 200) return { kind: 'refused', status, error_code: json?.error_code };
  const read = createStatementReader(mesh.statement_keys)(json.answers[0].statement);
  if (read.state !== 'verified' || read.statement.kind === 'configuration')
    throw new Error(`a lease with ${read.state}`);
  return read.statement;
}

/** The harness runs ahead so that proofs of its first second are taken: for clients in other programs, whose clock is the real one. */
export async function onRealClock(harness: Harness): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1_600));
  harness.clockAhead = 0;
}
