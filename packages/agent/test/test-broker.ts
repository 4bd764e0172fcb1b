/** A broker for the agent under test. */
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import type { StatementKey } from '@meshpass/identity/channel/statement';
import { dpopThumbprint } from '@meshpass/identity/dpop';
import { HeartbeatRequest } from '@meshpass/identity/refusal-report';
import type { ReachableService } from '@meshpass/identity/wire';
import { configurationOf, encoded, type Written } from './configuration.ts';
import { type Authority, type Issued, listen } from './harness.ts';

export interface TestBroker {
  readonly url: string;
  /** Requests in order: method and path. */
  readonly calls: string[];
  /** TCP connections so far. */
  connections: number;
  services: ReachableService[];
  /** Of the configuration; to make it another is to give it out. */
  configurationVersion: number;
  /** Changes the configuration before it is encoded, while set. */
  spoilConfiguration: ((written: Written) => void) | undefined;
  /** Absent: as of a broker that has just started. */
  servicesVersion: string | undefined;
  /** How many came. */
  heartbeats: number;
  /** Bodies of those that had one, as the broker reads them. */
  reports: HeartbeatRequest[];
  /** A session comes with its first certificates, token and configuration; else each is asked for. */
  atOnce: boolean;
  /** Answers everything with this, while set. */
  down: boolean;
  /** Seconds by which the broker's clock is ahead. */
  skew: number;
  /** It started in the second of the first proof: it takes none of that second or before. */
  justStarted: boolean;
  tokenLifetime: number;
  /** Characters added to identity tokens, to make them as long as real ones. */
  tokenPadding: number;
  svidLifetime: number;
  heartbeatSeconds: number;
  /** Key that signs identity tokens, and those that heartbeats name; absent: neither is told. */
  tokenKey?: string;
  tokenKeys?: string[];
  /** Signs certificates from now on. */
  authority: Authority;
  /** Roots that agents are told of. */
  roots: string[];
  sessions: Map<string, { id: string; jkt: string }>;
  /** Where agents are told that the edge is. */
  edge: { host: string; port: number };
  /** Keys of statements, where an edge serves control connections. */
  statementKeys: StatementKey[] | undefined;
  /** Told of each session that was opened. */
  onSession: (id: string) => void;
  /** The configuration as it is answered. */
  configuration(): object;
  /** Plays a broker that was taken over: may change what a call is answered, or answer it itself. */
  tamper: ((call: string, answer: TamperedAnswer) => void) | undefined;
  close(): void;
}

export interface TamperedAnswer {
  status: number;
  headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: the honest answer, for a test to spoil
  json: any;
  /** Sent as they are in place of `json`. */
  bytes?: string | Buffer;
  /** Answers in its place. */
  instead?: (response: ServerResponse) => void;
}

/** @param id of the session: `ses-1` is `octocat-1` in the mesh */
export function principalOf(grant: string, id: string): string {
  return `spiffe://cluster.local/ns/meshpass-${grant}/sa/${id.replace('ses', 'octocat')}`;
}

/** The broker's API for one workspace, with the checks of DPoP that the agent must satisfy. */
export async function startBroker(
  issued: Issued,
  mesh: Authority,
  edge: { host: string; port: number },
  services: ReachableService[],
): Promise<TestBroker> {
  const server: HttpsServer = createHttpsServer(issued);
  const port = await listen(server);
  let counter = 0;
  let startedAt = 0;
  const grants = () => [...new Set(broker.services.map((service) => service.grant))];
  const meshInfo = () => ({
    trust_domain: 'cluster.local',
    roots: broker.roots,
    edge: broker.edge,
    ...(broker.statementKeys && { statement_keys: broker.statementKeys }),
    token_header: 'x-meshpass-token',
  });
  const broker: TestBroker = {
    url: `https://localhost:${port}`,
    calls: [],
    connections: 0,
    services,
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
    statementKeys: undefined,
    onSession: () => {},
    configuration: () => {
      const written = configurationOf(broker.services, broker.configurationVersion);
      broker.spoilConfiguration?.(written);
      return encoded(written);
    },
    tamper: undefined,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
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
  /** @param csrs DER in base64url: the first is for the first grant */
  const first = async (id: string, csrs: readonly string[], nowSeconds: number) => {
    const pem = (csr: string) =>
      `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(csr, 'base64url').toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
    const asked = grants().slice(0, csrs.length);
    return {
      certificates: await sign(
        id,
        asked.map((grant, at) => ({ grant, csr: pem(csrs[at]!) })),
        nowSeconds,
      ),
      identity_token: newToken(null),
      configuration: broker.configuration(),
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
    if (request.headers.dpop === undefined) return refuse(401, 'dpop_missing');
    const [header, claims] = String(request.headers.dpop)
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    // As the token endpoint answers who has no session yet.
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
          lease_seconds: 45,
          heartbeat_seconds: broker.heartbeatSeconds,
          grants: grants(),
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
      case 'POST /session/heartbeat':
        broker.heartbeats++;
        if (body !== '') broker.reports.push(HeartbeatRequest.parse(JSON.parse(body)));
        return answer(200, {
          lease_expires_at: nowSeconds + 45,
          expires_at: nowSeconds + 3600,
          services_version: broker.servicesVersion,
          ...(broker.tokenKeys && { token_keys: broker.tokenKeys }),
          configuration_version: broker.configurationVersion,
        });
      case 'GET /services':
        return answer(200, { services_version: broker.servicesVersion, mesh: meshInfo(), services: broker.services });
      case 'GET /session/configuration': {
        const known = request.headers['if-none-match'];
        return known === `"${broker.configurationVersion}"` ? answer(304) : answer(200, broker.configuration());
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
