/**
 * The identity token in a real Envoy: which formats can read it, and which clusters receive it. The allow list of
 * formats is not applied here.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLUSTER, messageFromJson, toProtoJson } from '@meshpass/envoy';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { removeForgedTokenHeader } from '../../src/xds/http-filters.ts';
import { REFUSING_FILTER_CONFIG, withUpstreamFilters } from '../../src/xds/upstream-filters.ts';
import type { Json } from '../configuration.ts';
import { testEnvoy } from '../harness.ts';

const HEADER = 'x-meshpass-token';
const TOKEN = `%REQ(${HEADER})%`;
const TYPE = 'type.googleapis.com/';

let envoy: ReturnType<typeof spawn>;
let folder: string;
let port: number;
const servers: Server[] = [];
/** Grant of the cluster, path and headers of each request. */
const seen: { readonly at: string; readonly url: string; readonly headers: IncomingHttpHeaders }[] = [];
let failures = 0;

/** Builds one of the agent's clusters with an address instead of the tunnel, and its secret in the bootstrap. */
function cluster(grant: string, name: string, ports: readonly number[]): Json {
  const endpoint = { address: { envoy_internal_address: { server_listener_name: `tunnel/${grant}` } } };
  const message = messageFromJson(CLUSTER, {
    name: `${grant}/${name}`,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: ports.map(() => ({ endpoint })) }] },
  });
  const written = JSON.parse(JSON.stringify(toProtoJson(withUpstreamFilters(message, HEADER))), (key, value) =>
    key === 'sds_config' ? undefined : value,
  );
  for (const [at, one] of written.load_assignment.endpoints[0].lb_endpoints.entries())
    one.endpoint.address = { socket_address: { address: '127.0.0.1', port_value: ports[at] } };
  return written;
}

const set = (key: string, value: string) => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' });
const reads = { response_headers_to_add: [set('x-read', TOKEN)], request_headers_to_add: [set('x-copied', TOKEN)] };
const ROUTES: Json[] = [
  { match: { prefix: '/refused' }, route: { cluster: 'dev/spare' }, typed_per_filter_config: REFUSING_FILTER_CONFIG },
  {
    match: { prefix: '/', headers: [{ name: HEADER, present_match: true }] },
    direct_response: { status: 418 },
  },
  { match: { prefix: '/redirect' }, redirect: { host_redirect: 'evil.example', path_redirect: `/${TOKEN}` }, ...reads },
  {
    match: { prefix: '/direct' },
    direct_response: { status: 200, body: { inline_string: TOKEN } },
    ...reads,
  },
  {
    match: { prefix: '/mirror' },
    route: { cluster: 'dev/one', request_mirror_policies: [{ cluster: 'ops/one' }] },
    ...reads,
  },
  {
    match: { prefix: '/retry' },
    route: { cluster: 'dev/both', retry_policy: { retry_on: '5xx', num_retries: 4 } },
    ...reads,
  },
  { match: { prefix: '/' }, route: { cluster: 'dev/one' }, ...reads },
];

beforeAll(async () => {
  const listening = async (at: string) => {
    const server = createServer(({ url = '', headers }, response) => {
      seen.push({ at, url, headers });
      response.writeHead(url.startsWith('/retry') && failures-- > 0 ? 503 : 200).end();
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  const [one, other, spare] = [await listening('one'), await listening('other'), createServer()];
  await new Promise<void>((resolve) => spare.listen(0, '127.0.0.1', resolve));
  ({ port } = spare.address() as AddressInfo);
  await new Promise((resolve) => spare.close(resolve));
  const secret = (name: string, value: string) => ({ name, generic_secret: { secret: { inline_string: value } } });
  const manager = {
    '@type': `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'x',
    early_header_mutation_extensions: [removeForgedTokenHeader(HEADER)],
    route_config: { name: 'x', virtual_hosts: [{ name: 'x', domains: ['*'], routes: ROUTES }] },
    http_filters: [
      { name: 'router', typed_config: { '@type': `${TYPE}envoy.extensions.filters.http.router.v3.Router` } },
    ],
  };
  folder = mkdtempSync(join(tmpdir(), 'upstream-filters-'));
  const file = join(folder, 'envoy.json');
  writeFileSync(
    file,
    JSON.stringify({
      static_resources: {
        secrets: [secret('token.dev', 'of-dev'), secret('token.ops', 'of-ops'), secret('no.credential', '')],
        clusters: [
          cluster('dev', 'one', [one]),
          cluster('dev', 'both', [one, other]),
          cluster('ops', 'one', [other]),
          cluster('dev', 'spare', [other]),
        ],
        listeners: [
          {
            name: 'x',
            address: { socket_address: { address: '127.0.0.1', port_value: port } },
            filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }],
          },
        ],
      },
    }),
  );
  const argv = ['--config-path', file, '--disable-hot-restart', '--concurrency', '1', '--log-level', 'error'];
  envoy = spawn(await testEnvoy(), argv, { stdio: 'inherit' });
  await vi.waitFor(async () => expect((await call('/')).status).toBe(200), { timeout: 20_000, interval: 50 });
});
afterAll(() => {
  envoy?.kill();
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  seen.length = 0;
});

function call(path: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path, headers, agent: false }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
    });
    outgoing.on('error', reject).end();
  });
}

const carried = () => seen.map(({ at, headers }) => [at, headers[HEADER], headers['x-copied']]);

test("sends the token of the request's cluster, and ignores a program's own, also during route selection", async () => {
  await call('/x', { [HEADER]: 'forged' });
  expect(carried()).toEqual([['one', 'of-dev', undefined]]);
});

test.each(['/redirect', '/direct'])('hides the token from responses of the workspace: %s', async (path) => {
  for (const headers of [{}, { [HEADER]: 'forged' }] as Record<string, string>[]) {
    const answer = await call(path, headers);
    expect(JSON.stringify(answer)).not.toMatch(/of-dev|forged/);
    expect(answer.headers['x-read']).toBeUndefined();
  }
  expect(seen).toEqual([]);
});

test("sends the token of the mirror's cluster with a mirrored request", async () => {
  await call('/mirror');
  await expect
    .poll(() => carried().sort())
    .toEqual([
      ['one', 'of-dev', undefined],
      ['other', 'of-ops', undefined],
    ]);
});

test('sends the token once with each attempt of a request, without a copy in another header', async () => {
  failures = 3;
  expect((await call('/retry')).status).toBe(200);
  expect(carried()).toHaveLength(4);
  for (const [, token, copied] of carried()) expect([token, copied]).toEqual(['of-dev', undefined]);
});

test('makes Envoy connect for a refused request without sending it', async () => {
  let connections = 0;
  servers[1]!.on('connection', () => {
    connections += 1;
  });
  expect((await call('/refused')).status).toBe(401);
  await expect.poll(() => connections).toBe(1);
  expect(seen).toEqual([]);
});

test('exposes the token to response formats, which is why none may contain its header', async () => {
  expect((await call('/x')).headers['x-read']).toBe('of-dev');
});
