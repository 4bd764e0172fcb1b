/** A broker for the agent under test. */
import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { dpopKey, dpopThumbprint, sha256Base64url } from '@meshpass/identity';
import {
  CONFIGURATION_HEADER,
  grantSet,
  type LeaseAnswer,
  type LeaseRenewal,
  LeaseRequest,
  parseLeaseProof,
  type Statement,
  type StatementKey,
  signStatement,
} from '@meshpass/identity/channel';
import { RefusalReportRequest } from '@meshpass/identity/refusal-report';
import type { ReachableService } from '@meshpass/identity/wire';
import { configurationOf, encoded, type Written } from './configuration.ts';
import { type Authority, type Issued, listen } from './harness.ts';

export interface TestBroker {
  readonly url: string;
  /** Method and path of each request, in order. */
  readonly calls: string[];
  /** Number of TCP connections so far. */
  connections: number;
  services: ReachableService[];
  /** Contact for access requests. */
  contact: string | undefined;
  /** Version of the configuration; a change publishes it. */
  configurationVersion: number;
  /** Changes the configuration before it is encoded, while set. */
  spoilConfiguration: ((written: Written) => void) | undefined;
  /** Absent for a broker that has just started. */
  servicesVersion: string | undefined;
  /** Number of leases renewed over HTTPS. */
  heartbeats: number;
  /** Refusal reports as parsed by the broker. */
  reports: RefusalReportRequest[];
  /**
   * Whether a session includes its first certificates, token and configuration; otherwise the agent requests each of
   * them.
   */
  atOnce: boolean;
  /** Whether every request fails. */
  down: boolean;
  /** Offset of the broker's clock, seconds. */
  skew: number;
  /** Whether the broker started in the second of the first proof, so that it refuses proofs up to that second. */
  justStarted: boolean;
  tokenLifetime: number;
  /** Number of characters added to identity tokens to give them a realistic length. */
  tokenPadding: number;
  svidLifetime: number;
  heartbeatSeconds: number;
  /** Key that signs identity tokens, and keys listed by leases; if absent, both omit them. */
  tokenKey?: string;
  tokenKeys?: string[];
  /** Authority that signs new certificates. */
  authority: Authority;
  /** Roots sent to agents. */
  roots: string[];
  sessions: Map<string, { id: string; jkt: string }>;
  /** Address of the edge sent to agents. */
  edge: { host: string; port: number };
  /** Key that signs statements, and its public form as sent to agents. */
  statementKey: SigningKey;
  /** Signs statements with another key from now on. */
  rotateStatementKey(): void;
  /** Answers a lease with a statement signed by `key`. */
  renew(lease: LeaseRenewal, key: SigningKey): LeaseAnswer;
  /** Returns the configuration with its header, signed by `key`. */
  announcement(key: SigningKey): Announcement;
  /** Called for each opened session. */
  onSession: (id: string) => void;
  /** Returns the content of the configuration. */
  configuration(): object;
  /** Plays a compromised broker: may change a response, or send one itself. */
  tamper: ((call: string, answer: TamperedAnswer) => void) | undefined;
  close(): void;
}

export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly published: StatementKey;
}

export interface Announcement {
  readonly set: string;
  readonly digest: string;
  readonly content: Buffer;
  readonly statement: string;
}

export interface TamperedAnswer {
  status: number;
  headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: the honest response, which a test may corrupt
  json: any;
  /** Sent unchanged instead of `json`. */
  bytes?: string | Buffer;
  /** Responds instead of the broker. */
  instead?: (response: ServerResponse) => void;
}

/** Returns the SPIFFE id for a grant. @param id session id: `ses-1` becomes `octocat-1` in the mesh */
export function principalOf(grant: string, id: string): string {
  return `spiffe://cluster.local/ns/meshpass-${grant}/sa/${id.replace('ses', 'octocat')}`;
}

/** Starts the broker's API for one workspace, with the DPoP checks that the agent must satisfy. */
export async function startBroker(
  issued: Issued,
  mesh: Authority,
  edge: { host: string; port: number },
  services: ReachableService[],
): Promise<TestBroker> {
  const server: HttpsServer = createHttpsServer(issued);
  const port = await listen(server);
  let counter = 0;
  let keys = 0;
  let startedAt = 0;
  let held: readonly string[] = [];
  /** Grants of the services. A broker that does not know its services yet still knows the session's grants. */
  const grants = () => {
    if (broker.services.length > 0) held = [...new Set(broker.services.map((service) => service.grant))];
    return held;
  };
  const heldBy = (id: string, now: number) =>
    grants().map((grant) => ({ grant, spiffe_id: principalOf(grant, id), until: now + 3600 }));
  const meshInfo = () => ({
    trust_domain: 'cluster.local',
    roots: broker.roots,
    edge: broker.edge,
    ...(broker.contact !== undefined && { contact: broker.contact }),
    statement_keys: published,
    token_header: 'x-meshpass-token',
  });
  const newKey = (): SigningKey => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = `key-${++keys}`;
    return { kid, privateKey, published: { ...dpopKey(privateKey).jwk, kid } };
  };
  const broker: TestBroker = {
    url: `https://localhost:${port}`,
    calls: [],
    connections: 0,
    services,
    contact: undefined,
    configurationVersion: Date.now(),
    spoilConfiguration: undefined,
    servicesVersion: '1',
    heartbeats: 0,
    reports: [],
    atOnce: false,
    down: false,
    skew: 0,
    justStarted: false,
    tokenLifetime: 300,
    tokenPadding: 0,
    svidLifetime: 600,
    heartbeatSeconds: 15,
    authority: mesh,
    roots: [mesh.root],
    sessions: new Map(),
    edge,
    statementKey: newKey(),
    rotateStatementKey: () => {
      broker.statementKey = newKey();
      published = [broker.statementKey.published];
    },
    renew: ({ session_id, proof }, key) => {
      const read = parseLeaseProof(proof);
      const session = [...broker.sessions.values()].find(({ id }) => id === session_id);
      if (!session || !read || dpopThumbprint(read.jwk) !== session.jkt)
        return { session_id, error_code: 'session_unknown' };
      const at = Date.now() + broker.skew * 1000;
      const now = Math.floor(at / 1000);
      // As the broker does: a lease is 45 seconds.
      if (read.claims.at > at + 5_000 || read.claims.at < at - 45_000)
        return { session_id, error_code: 'dpop_expired' };
      const statement: Statement = {
        kind: 'lease',
        sid: session_id,
        seq: read.claims.seq,
        at,
        lease_expires_at: now + 45,
        expires_at: now + 3600,
        services_version: broker.servicesVersion,
        ...(broker.tokenKeys && { token_keys: broker.tokenKeys }),
        set: grantSet(grants()),
        configuration_version: broker.configurationVersion,
      };
      return { session_id, statement: signStatement(statement, key) };
    },
    announcement: (key) => {
      const version = broker.configurationVersion;
      // The bytes of each version differ.
      const content = Buffer.from(JSON.stringify({ ...broker.configuration(), version }));
      const [set, digest] = [grantSet(grants()), sha256Base64url(content)];
      const statement: Statement = { kind: 'configuration', set, version, digest, size: content.length };
      return { set, digest, content, statement: signStatement(statement, key) };
    },
    onSession: () => {},
    configuration: () => {
      const written = configurationOf(broker.services);
      broker.spoilConfiguration?.(written);
      return encoded(written);
    },
    tamper: undefined,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  let published = [broker.statementKey.published];
  const sign = (id: string, asked: readonly { grant: string; csr: string }[], nowSeconds: number) =>
    Promise.all(
      asked.map(async ({ grant, csr }) => {
        const spiffeId = principalOf(grant, id);
        const chain = await broker.authority.sign(csr, spiffeId, broker.svidLifetime);
        const notAfter = Math.floor(Date.parse(new X509Certificate(chain).validTo) / 1000) + broker.skew;
        return { grant, spiffe_id: spiffeId, chain, not_before: nowSeconds, not_after: notAfter };
      }),
    );
  const newToken = (audience: string | null) => {
    counter += 1;
    const head = broker.tokenKey
      ? Buffer.from(JSON.stringify({ alg: 'RS256', kid: broker.tokenKey })).toString('base64url')
      : 'head';
    const value = audience
      ? `aud.${audience.replaceAll('.', '-')}.${counter}`
      : `${head}.token${counter}${'x'.repeat(broker.tokenPadding)}.sig`;
    return { access_token: value, issued_token_type: 'x', token_type: 'N_A', expires_in: broker.tokenLifetime };
  };
  /** @param csrs DER in base64url, in the order of the grants */
  const first = async (id: string, csrs: readonly string[], nowSeconds: number) => {
    const pem = (csr: string) =>
      `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(csr, 'base64url').toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
    const asked = grants().slice(0, csrs.length);
    const { statement, content } = broker.announcement(broker.statementKey);
    return {
      certificates: await sign(
        id,
        asked.map((grant, at) => ({ grant, csr: pem(csrs[at]!) })),
        nowSeconds,
      ),
      identity_token: newToken(null),
      configuration: { statement, content: content.toString() },
    };
  };
  server.on('connection', () => broker.connections++);
  server.on('request', async (request: IncomingMessage, response) => {
    const nowSeconds = Math.floor(Date.now() / 1000) + broker.skew;
    const answer = (status: number, body?: object, more: Record<string, string> = {}) => {
      const date = new Date(nowSeconds * 1000).toUTCString();
      const given: TamperedAnswer = {
        status,
        headers: { 'content-type': 'application/json', date, ...more },
        json: body,
      };
      broker.tamper?.(`${request.method} ${request.url}`, given);
      if (given.instead) return given.instead(response);
      response.writeHead(given.status, given.headers);
      response.end(given.bytes ?? (given.json && JSON.stringify(given.json)));
    };
    const refuse = (status: number, code: string, more?: Record<string, string>) =>
      answer(status, { error: 'x', error_code: code, error_description: code }, more);
    let body = '';
    for await (const chunk of request) body += chunk;
    broker.calls.push(`${request.method} ${request.url}`);
    if (broker.down) return refuse(503, 'store_unavailable');
    if (request.url === '/leases') {
      broker.heartbeats++;
      const given = broker.renew(LeaseRequest.parse(JSON.parse(body)).leases[0]!, broker.statementKey);
      return given.error_code === undefined ? answer(200, { answers: [given] }) : refuse(401, given.error_code);
    }
    if (request.headers.dpop === undefined) return refuse(401, 'dpop_missing');
    const [header, claims] = String(request.headers.dpop)
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    // The token endpoint responds with 400 to clients without a session.
    const badProof = request.headers.authorization === undefined ? 400 : 401;
    if (Math.abs(claims.iat - nowSeconds) > 60) return refuse(badProof, 'dpop_expired');
    if (broker.justStarted) startedAt ||= claims.iat;
    if (claims.iat <= startedAt) return refuse(badProof, 'dpop_expired', { 'retry-after': '1' });
    if (claims.htm !== request.method || claims.htu !== broker.url + request.url) return refuse(401, 'dpop_mismatch');
    const jkt = dpopThumbprint(header.jwk);
    const token = /^DPoP (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) {
      const form = new URLSearchParams(body);
      if (form.get('subject_token') !== 'proof') return refuse(400, 'proof_rejected');
      counter += 1;
      const id = `ses-${counter}`;
      broker.sessions.set(`mps_${counter}`, { id, jkt });
      broker.onSession(id);
      return answer(200, {
        access_token: `mps_${counter}`,
        issued_token_type: 'urn:meshpass:token-type:session',
        token_type: 'DPoP',
        expires_in: 3600,
        session: {
          id,
          subject: 'github:583231',
          login: 'octocat',
          workspace: form.get('codespace_name') ?? 'file',
          expires_at: nowSeconds + 3600,
          heartbeat_seconds: broker.heartbeatSeconds,
          grants: grants(),
          held: heldBy(id, nowSeconds),
        },
        mesh: meshInfo(),
        services: broker.services,
        ...(broker.atOnce && (await first(id, form.get('csrs')?.split('.') ?? [], nowSeconds))),
      });
    }
    const session = broker.sessions.get(token);
    if (!session) return refuse(401, 'session_unknown');
    if (session.jkt !== jkt) return refuse(401, 'dpop_key_mismatch');
    switch (`${request.method} ${request.url}`) {
      case 'POST /certificates': {
        const asked = JSON.parse(body).certificates as { grant: string; csr: string }[];
        const certificates = await sign(session.id, asked, nowSeconds);
        return answer(200, { certificates, roots: broker.roots });
      }
      case 'POST /token': {
        return answer(200, newToken(new URLSearchParams(body).get('audience')));
      }
      case 'POST /session/refusals':
        broker.reports.push(RefusalReportRequest.parse(JSON.parse(body)));
        return answer(204);
      case 'GET /services':
        return answer(200, {
          services_version: broker.servicesVersion,
          held: heldBy(session.id, nowSeconds),
          mesh: meshInfo(),
          services: broker.services,
        });
      case 'GET /session/configuration': {
        const { statement, content } = broker.announcement(broker.statementKey);
        return answer(200, JSON.parse(content.toString()), { [CONFIGURATION_HEADER]: statement });
      }
      case 'DELETE /session':
        broker.sessions.delete(token);
        return answer(204);
      default:
        return refuse(404, 'not_found');
    }
  });
  return broker;
}
