/** The OpenAPI document has every route of the broker, and its real answers are as it says. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRateLimiter } from '@meshpass/broker/core/watch/rate-limiter';
import { fetchBrokerVersion } from '@meshpass/cli/commands/version';
import { VERSION } from '@meshpass/identity';
import { loadManifests } from '@meshpass/istio';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { OPERATIONS, openapiDocument } from '../../deploy/reference/openapi/document.ts';
import {
  type Answer,
  asSession,
  certificates,
  derive,
  enrol,
  type Harness,
  leaseCall,
  OPERATOR_TOKEN,
  session,
  startHarness,
} from '../../packages/broker/test/harness/broker.ts';
import { grant } from '../../packages/broker/test/harness/mesh.ts';
import { asOperator, exchange, operatorsByGroup, signIn } from '../../packages/broker/test/harness/operators.ts';

/** Every application that the broker makes, so that its routes can be listed. */
const apps = vi.hoisted(() => [] as Hono[]);
vi.mock('hono', async (original) => {
  const module = await original<typeof import('hono')>();
  class Recorded extends module.Hono {
    constructor(...given: ConstructorParameters<typeof module.Hono>) {
      super(...given);
      apps.push(this as Hono);
    }
  }
  return { ...module, Hono: Recorded };
});

const EVENT_TOKEN = 'token-of-the-audit-log-stream-0123456789';
const ACCESS = `
trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080}]}
`;
const SERVICE = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}`;

const document = openapiDocument({ closed: true });
const ajv = addFormats.default(new Ajv2020({ strict: false, allErrors: true }));
ajv.addSchema(document, 'openapi');

let folder: string;
let harness: Harness;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-openapi-'));
  const githubEventTokenFile = join(folder, 'events');
  writeFileSync(githubEventTokenFile, EVENT_TOKEN, { mode: 0o600 });
  harness = await startHarness({
    config: { githubEventTokenFile },
    parts: (clock) => ({
      github: { read: async () => [] as never, rateLimiter: createRateLimiter(clock) },
      policy: { mesh: playedPolicyMesh() as never, authorOf: async () => ({ by: 'a job' }) },
    }),
  });
  harness.mesh.setAccess([grant('dev')], ['sts.amazonaws.com']);
});
afterAll(async () => {
  await harness?.stop();
  rmSync(folder, { recursive: true });
});

function playedPolicyMesh() {
  const shape = {
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  };
  const jwks = '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}';
  return {
    shape,
    tokens: () => ({ issuer: 'https://broker.example', audience: 'meshpass', header: 'x-meshpass-token', jwks }),
    inForce: () => undefined,
    read: async () => loadManifests(SERVICE, 'cluster.yaml').resources,
    take: async () => {},
    drift: () => undefined,
    rehearse: async () => {},
    resume: () => {},
    onChange: () => () => {},
  };
}

/** Documented response for an answer; undefined if the document has none. */
function problemsOf(method: string, path: string, { status, headers, text }: Answer): unknown {
  const entry = Object.entries(document.paths!).find(([one]) =>
    new RegExp(`^${one.replace(/\{\w+\}/g, '[^/]+')}$`).test(path.split('?')[0]!),
  );
  if (!entry) return `${path} is not in the document`;
  const [template, operations] = entry;
  const operation = (operations as Record<string, { responses: Record<string, { content?: object }> }>)[method];
  if (!operation) return `${method} ${path} is not in the document`;
  const known = operation.responses[status] ? String(status) : 'default';
  if (known === 'default' && status < 400) return `${method} ${path} answers ${status}, which is not in the document`;
  const type = String(headers['content-type'] ?? '').split(';')[0]!;
  const content = operation.responses[known]!.content ?? {};
  if (status === 204 || status === 304) return text === '' && Object.keys(content).length === 0 ? [] : 'has a body';
  if (!(type in content)) return `${method} ${path} answers ${type}, not ${Object.keys(content)}`;
  const pointer = ['paths', template, method, 'responses', known, 'content', type, 'schema'];
  const ref = `openapi#/${pointer.map((one) => encodeURIComponent(one.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
  const validate = ajv.getSchema(ref)!;
  const bodies =
    type === 'application/x-ndjson'
      ? text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line))
      : [type.includes('json') ? JSON.parse(text) : text];
  return bodies.flatMap((body) => (validate(body) ? [] : validate.errors));
}

it('the document is one of OpenAPI 3.1, whose schemas are JSON Schemas', () => {
  expect(document.openapi).toBe('3.1.0');
  for (const [name, schema] of Object.entries(document.components?.schemas ?? {}))
    expect(ajv.validateSchema(schema), name).toBe(true);
  const ids = OPERATIONS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

it('contains exactly the routes of both listeners', () => {
  const routes = apps
    .flatMap(({ routes }) => routes)
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const listed = OPERATIONS.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
  expect(listed.toSorted()).toEqual([...new Set(routes)].sort());
});

it('meshpass version asks the broker for its own', async () => {
  const url = `https://localhost:${harness.broker.port}`;
  expect(await fetchBrokerVersion(url, readFileSync(harness.caFile, 'utf8'))).toBe(VERSION);
  await expect(fetchBrokerVersion(url, undefined)).rejects.toMatchObject({ code: 'agent_broker_unreachable' });
});

const JSON_TYPE = { 'content-type': 'application/json' };
const OPERATOR = { ...JSON_TYPE, authorization: `Bearer ${OPERATOR_TOKEN}` };
const EDGE = { ...JSON_TYPE, authorization: 'Bearer edge-token' };
const JOB = { ...JSON_TYPE, authorization: 'Bearer job' };
const files = { files: { 'access.yaml': ACCESS } };

describe('answers of a running broker match the document', () => {
  it('to agents', async () => {
    const alice = await session(harness, 'alice');
    const call = (method: string, path: string) => asSession(harness, alice, { method: method.toUpperCase(), path });
    const answers: readonly (readonly [string, string, number, Answer])[] = [
      ['post', '/token', 200, await enrol(harness, 'bob')],
      ['post', '/token', 200, await derive(harness, alice)],
      ['post', '/token', 400, await derive(harness, alice, { audience: 'nobody' })],
      ['post', '/certificates', 200, await certificates(harness, alice, ['dev'])],
      ['post', '/certificates', 403, await certificates(harness, alice, ['other'])],
      ['post', '/leases', 200, await harness.call(leaseCall(alice, harness.now() * 1000))],
      ['get', '/services', 200, await call('get', '/services')],
      ['get', '/session/configuration', 503, await call('get', '/session/configuration')],
      ['delete', '/session', 204, await call('delete', '/session')],
      ['get', '/services', 401, await call('get', '/services')],
    ];
    for (const [method, path, status, answer] of answers) {
      expect(answer.status, `${method} ${path} ${answer.text}`).toBe(status);
      expect(problemsOf(method, path, answer), `${method} ${path} ${answer.text}`).toEqual([]);
    }
  });

  it.each([
    ['get', '/version', {}, undefined, 200],
    ['get', '/openapi.json', {}, undefined, 200],
    ['get', '/jwks', {}, undefined, 200],
    ['get', '/.well-known/openid-configuration', {}, undefined, 200],
    ['get', '/services/collector/health', {}, undefined, 200],
    ['post', '/services/collector', { authorization: `Splunk ${EVENT_TOKEN}` }, '', 200],
    ['post', '/services/collector/event', { authorization: 'Splunk no' }, '', 401],
    ['post', '/github/audit-stream', { authorization: `Bearer ${EVENT_TOKEN}` }, '', 200],
    ['post', '/edge/decisions', EDGE, { decisions: [] }, 204],
    ['post', '/leases', EDGE, { leases: [{ session_id: 'no', proof: 'no' }] }, 200],
    ['post', '/leases', JSON_TYPE, { leases: [{ session_id: 'no', proof: 'no' }] }, 401],
    ['post', '/edge/configuration', EDGE, { set: 'no', digest: 'a'.repeat(43) }, 404],
    ['post', '/edge/draining', EDGE, { sessions: [{ session_id: 'no', newest_ms: 1 }] }, 204],
    ['post', '/edge/decisions', JOB, { decisions: [] }, 401],
    ['post', '/policy/plan', JOB, files, 200],
    ['get', '/policy/history', JOB, undefined, 200],
  ] as const)('on the public listener: %s %s', async (method, path, headers, body, status) => {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const answer = await harness.call({ method: method.toUpperCase(), path, headers, ...sent });
    expect(answer.status, answer.text).toBe(status);
    expect(problemsOf(method, path, answer), answer.text).toEqual([]);
  });

  it('to an edge that follows', async () => {
    const alice = await session(harness, 'alice');
    const line = await firstLine('/edge/stream');
    expect(line).toContain(alice.session.id);
    const answer = { status: 200, headers: { 'content-type': 'application/x-ndjson' }, text: line, json: undefined };
    expect(problemsOf('get', '/edge/stream', answer)).toEqual([]);
  });

  it('to operators who sign in', async () => {
    harness.mesh.setOperators(operatorsByGroup());
    const ada = await exchange(harness, 'ada', ['admin']);
    expect([ada.status, problemsOf('post', '/operator/session', ada)]).toEqual([200, []]);
    const who = await signIn(harness, 'ada', ['admin']);
    const ask = async (method: string, path: string, body?: object) => {
      const call = { method: method.toUpperCase(), path, ...(body && { body: JSON.stringify(body) }) };
      const answer = await asOperator(harness, who, call);
      expect([answer.status < 300, problemsOf(method, path, answer)], answer.text).toEqual([true, []]);
    };
    await ask('get', '/operator/sign-in');
    await ask('get', '/operator/session');
    await ask('get', '/operator/roles');
    await ask('get', '/operator/sessions');
    await ask('post', '/audit/prune', { before: '2020-01-01T00:00:00Z', reason: 'old' });
    await signIn(harness, 'mona', ['viewer']);
    await ask('post', '/operator/sessions/close', { subject: 'idp:mona' });
    await ask('post', '/admin/sessions/close', { all: true, reason: 'tried' });
    await ask('delete', '/operator/session');
    harness.mesh.setOperators(undefined);
  });

  it('to operators', async () => {
    const alice = await session(harness, 'alice');
    const ask = async (method: string, path: string, status: number, body?: unknown, headers: object = OPERATOR) => {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const call = { method: method.toUpperCase(), path, headers: headers as Record<string, string>, ...sent };
      const answer = await harness.operatorCall(call);
      expect(answer.status, `${method} ${path} ${answer.text}`).toBe(status);
      expect(problemsOf(method, path, answer), `${method} ${path} ${answer.text}`).toEqual([]);
      return answer;
    };
    await certificates(harness, alice, ['dev']);
    await ask('get', '/healthz', 200);
    await ask('get', '/readyz', 200);
    const metrics = await ask('get', '/metrics', 200);
    expect(metrics.text).toContain(`meshpass_build_info{component="broker",version="${VERSION}"} 1`);
    await ask('get', '/admin/sessions', 200);
    await ask('get', '/admin/sessions?nonsense=1', 400);
    await ask('get', '/admin/sessions', 401, undefined, {});
    await ask('get', '/admin/trust', 200);
    await ask('post', '/admin/sessions/close', 200, { id: alice.session.id });
    await ask('get', `/admin/drill/sessions/${alice.session.id}`, 200);
    await ask('get', '/admin/drill/sessions/nobody', 404);
    await ask('post', '/admin/drill/evidence', 200, drillOf(alice.session.id));
    await ask('post', '/admin/trust/rotate', 200, { reason: 'tried' });
    await ask('get', '/audit', 200);
    await ask('get', '/audit/export', 200);
    await ask('get', '/audit/checkpoint', 200);
    await ask('get', '/audit/key', 200);
    await ask('get', '/audit/restores', 200);
    await ask('post', '/audit/prune', 403, { before: '2020-01-01T00:00:00Z', reason: 'old' });
    const plan = await ask('post', '/policy/plan', 200, files);
    await ask('post', '/policy/apply', 200, { ...files, plan: plan.json.id, reason: 'tried' });
    await ask('get', '/policy/history', 200);
    await ask('get', '/policy/versions/1', 200);
    await ask('post', '/policy/rollback', 200, { version: 1, reason: 'tried' });
  });
});

function drillOf(id: string) {
  const at = new Date().toISOString();
  return {
    version: 1,
    broker: 'https://broker.example',
    started_at: at,
    ended_at: at,
    cause: 'goodbye',
    session: { id, subject: 's', login: 'alice', workspace: 'w', grants: ['dev'] },
    principals: [],
    rows: [],
  };
}

/** First part of an endless answer. */
function firstLine(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ rejectUnauthorized: false });
    const sent = request({ host: '127.0.0.1', port: harness.broker.port, path, headers: EDGE, agent }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk;
        if (!text.includes('\n')) return;
        sent.destroy();
        agent.destroy();
        resolve(text.split('\n')[0]!);
      });
    });
    sent.on('error', reject).end();
  });
}
