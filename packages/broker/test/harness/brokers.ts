/** Several brokers on one PostgreSQL, each in a process of its own, and a client that follows whichever is active. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DpopKey } from '@meshpass/identity';
import type { SessionResponse } from '@meshpass/identity/wire';
import { openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import {
  type Answer,
  dpop,
  EXCHANGE,
  FORM,
  form,
  ID_TOKEN,
  leaseCall,
  newKey,
  OPERATOR_TOKEN,
  PUBLIC_URL,
  type Renewal,
  readRenewal,
  send,
} from './broker.ts';
import { writeCertificate } from './certificate.ts';
import { newIdpKey, type PlayedIdp, playIdp } from './idp.ts';
import { startPostgres, type TestPostgres } from './postgres.ts';
import type { Beside } from './serve-beside.ts';

export interface BrokerProcess {
  readonly port: number;
  readonly url: string;
  readonly child: ChildProcess;
  /** Output so far: calls to the mesh, and the log. */
  readonly said: () => string;
  readonly logged: () => string;
  readonly exited: Promise<number | null>;
  /** Calls its operator listener; status 0 if it does not respond. */
  /** Posts the body, if there is one. */
  readonly operator: (path: string, json?: unknown) => Promise<{ readonly status: number; readonly text: string }>;
}

export interface Held extends SessionResponse {
  readonly key: DpopKey;
  /** Broker that issued it. */
  readonly by: BrokerProcess;
}

export interface Brokers {
  readonly postgres: TestPostgres;
  readonly idp: PlayedIdp;
  readonly dir: string;
  readonly tlsCa: string;
  readonly signingKeyFile: string;
  readonly auditKeyFile: string;
  readonly auditCheckpointFile: string;
  readonly get: (from: BrokerProcess, path: string) => Promise<Answer>;
  /** @param other overrides of the common options */
  readonly start: (name: string, other?: Partial<Beside>) => Promise<BrokerProcess>;
  readonly call: (to: BrokerProcess, who: Held, method: string, path: string, json?: unknown) => Promise<Answer>;
  readonly renew: (at: BrokerProcess, who: Held) => Promise<Renewal>;
  /** Opens a session at whichever of them answers. */
  readonly open: (of: readonly BrokerProcess[], subject: string) => Promise<Held>;
  readonly close: () => Promise<void>;
}

export async function brokersOnPostgres(leaseSeconds = 45): Promise<Brokers> {
  const postgres = startPostgres();
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-brokers-'));
  const tls = await writeCertificate(dir);
  const operatorTokenFile = join(dir, 'operator-token');
  writeFileSync(operatorTokenFile, `${OPERATOR_TOKEN}\n`, { mode: 0o600 });
  const signingKeyFile = join(dir, 'signing-key.pem');
  const auditKeyFile = join(dir, 'audit-key.pem');
  const auditCheckpointFile = join(dir, 'audit-checkpoint');
  await openSigner(keyFileStorage(signingKeyFile));
  await openAuditKey(auditKeyFile, PUBLIC_URL, true);
  const key = newIdpKey();
  const idp = await playIdp(key);
  const idpKey = key.export({ type: 'pkcs8', format: 'pem' }) as string;
  const running: BrokerProcess[] = [];
  const agent = new Agent({ ca: tls.pem, keepAlive: true, maxSockets: 32 });

  const start: Brokers['start'] = async (name, other = {}) => {
    const dataDir = join(dir, name);
    mkdirSync(dataDir, { recursive: true });
    const [port, operatorPort] = [await freePort(), await freePort()];
    const beside: Beside = {
      name,
      port,
      operatorPort,
      databaseUrl: postgres.url,
      dataDir,
      operatorTokenFile,
      certFile: tls.certFile,
      keyFile: tls.keyFile,
      signingKeyFile,
      auditKeyFile,
      idpKey,
      leaseSeconds,
      auditCheckpointFile,
      ...other,
    };
    const script = fileURLToPath(new URL('serve-beside.ts', import.meta.url));
    const child = spawn(process.execPath, [script, JSON.stringify(beside)], { stdio: ['ignore', 'pipe', 'pipe'] });
    const text = { out: '', err: '' };
    child.stdout.on('data', (chunk: Buffer) => (text.out += chunk));
    child.stderr.on('data', (chunk: Buffer) => (text.err += chunk));
    const broker: BrokerProcess = {
      port,
      url: `https://localhost:${port}`,
      child,
      said: () => text.out,
      logged: () => text.err,
      exited: once(child, 'close').then(() => child.exitCode),
      operator: async (path, json) => {
        try {
          const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
          const signal = AbortSignal.timeout(10_000);
          const posted = json !== undefined && { method: 'POST', body: JSON.stringify(json) };
          const answer = await fetch(`http://127.0.0.1:${operatorPort}${path}`, { headers, signal, ...posted });
          return { status: answer.status, text: await answer.text() };
        } catch {
          return { status: 0, text: '' };
        }
      },
    };
    running.push(broker);
    return broker;
  };
  const now = () => Math.floor(Date.now() / 1000);
  return {
    postgres,
    idp,
    dir,
    tlsCa: tls.certFile,
    signingKeyFile,
    auditKeyFile,
    auditCheckpointFile,
    start,
    get: (from, path) => send(agent, from.port, { path }),
    renew: async (at, who) => readRenewal(who, await send(agent, at.port, leaseCall(who, Date.now()))),
    call: (to, who, method, path, json) => {
      const proof = dpop({ key: who.key, method, path, now: now(), accessToken: who.access_token });
      return send(agent, to.port, {
        method,
        path,
        headers: { authorization: `DPoP ${who.access_token}`, dpop: proof, 'content-type': 'application/json' },
        ...(json !== undefined && { body: JSON.stringify(json) }),
      });
    },
    open: async (of, subject) => {
      const key = newKey();
      for (;;) {
        for (const broker of of) {
          const token = await idp.prove(subject);
          const answer = await send(agent, broker.port, {
            method: 'POST',
            path: '/token',
            headers: { ...FORM, dpop: dpop({ key, now: now() }) },
            body: form({ grant_type: EXCHANGE, subject_token: token, subject_token_type: ID_TOKEN }),
          }).catch(() => undefined);
          if (answer?.status === 200) return { ...answer.json, key, by: broker };
          // A broker takes no proof of the second in which it began.
          const passes = answer === undefined || answer.status === 503 || answer.json.error_code === 'dpop_expired';
          if (!passes) throw new Error(`enrolment answered ${answer.status} ${answer.text}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    close: async () => {
      agent.destroy();
      for (const { child } of running) child.kill('SIGKILL');
      await Promise.all(running.map(({ exited }) => exited));
      postgres.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export async function until<T>(look: () => T | Promise<T>, ok: (seen: T) => boolean, seconds = 60): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (ok(seen)) return seen;
    if (Date.now() > end) throw new Error(`it never came true; last seen: ${JSON.stringify(seen)?.slice(0, 2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
