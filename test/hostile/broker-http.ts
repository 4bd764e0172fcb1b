/** HTTP requests that are almost right, against the public listener and the operators' listener of the real broker. */
import { gzipSync } from 'node:zlib';
import type { HostileArea, HostileInput, Outcome } from './area.ts';
import { asSession, type BrokerWorld, FORM, openBroker, renewalForm } from './broker-world.ts';
import { type Answered, ask, sendBytes } from './requests.ts';

type Input = HostileInput<BrokerWorld>;

const MALFORMED = 'request_malformed';

/** An honest exchange of the session's token, before it is sent. */
interface Renewal {
  method: string;
  path: string;
  type: readonly string[];
  more: readonly string[];
  body: string | Buffer;
}

function renew(
  world: BrokerWorld,
  change: (renewal: Renewal, world: BrokerWorld) => void = () => {},
): Promise<Answered> {
  const body = new URLSearchParams(renewalForm(world.session)).toString();
  const renewal: Renewal = { method: 'POST', path: '/token', type: FORM, more: [], body };
  change(renewal, world);
  const { method, path, type, more } = renewal;
  const headers = [...type, ...asSession(world, 'POST', '/token'), ...more];
  return ask(world.broker, { method, path, headers, body: renewal.body });
}

const form = (fault: string, code: string, change: (renewal: Renewal, world: BrokerWorld) => void): Input => ({
  fault,
  code,
  control: (world) => renew(world),
  attack: (world) => renew(world, change),
});
const added = (fault: string, code: string, parameters: string) =>
  form(fault, code, (renewal) => {
    renewal.body = `${renewal.body}&${parameters}`;
  });
const typed = (fault: string, type: readonly string[]) =>
  form(fault, 'request_malformed', (renewal) => {
    renewal.type = type;
  });
const routed = (fault: string, method: string, path: string) =>
  form(fault, 'not_found', (renewal) => Object.assign(renewal, { method, path }));

const FORMS: readonly Input[] = [
  typed('a form that says it is JSON', ['Content-Type', 'application/json']),
  typed('a form that says it is text', ['Content-Type', 'text/plain']),
  typed('a form that says it has several parts', ['Content-Type', 'multipart/form-data; boundary=x']),
  typed('a form in another character set', ['Content-Type', 'application/x-www-form-urlencoded; charset=utf-16']),
  typed('a form that does not say what it is', []),
  added('a form with two grant types', MALFORMED, 'grant_type=password'),
  added('a form with two subject tokens', MALFORMED, 'subject_token=x'),
  added('a form with a parameter twice, spelled in percent', MALFORMED, '%73ubject_token=x'),
  added('a form that asks for a scope', MALFORMED, 'scope=admin'),
  added('a form with an actor', MALFORMED, 'actor_token=x'),
  added('a form with a resource', MALFORMED, 'resource=https%3A%2F%2Fevil.example'),
  added('a form with a line break in the audience', MALFORMED, 'audience=sts.example.com%0d%0aX-Evil%3a1'),
  added('a form with a NUL in the audience', MALFORMED, 'audience=meshpass%00'),
  form('a form that is not UTF-8', MALFORMED, (renewal) => {
    renewal.body = Buffer.concat([Buffer.from(String(renewal.body)), Buffer.from('&x=\xff\xfe', 'latin1')]);
  }),
  form('a form that is compressed', MALFORMED, (renewal) => {
    renewal.body = gzipSync(renewal.body);
    renewal.more = ['Content-Encoding', 'gzip'];
  }),
  added('a form that is too long', 'request_too_large', `x=${'x'.repeat(40_000)}`),
  form('a form that is too long and does not say so', 'request_too_large', (renewal) => {
    renewal.body = `${renewal.body}&x=${'x'.repeat(40_000)}`;
    renewal.more = ['Transfer-Encoding', 'chunked'];
  }),
  form('an empty form', MALFORMED, (renewal) => {
    renewal.body = '';
  }),
  routed('a form that is put', 'PUT', '/token'),
  routed('a form to a path with a slash more', 'POST', '/token/'),
  routed('a form to a path with two slashes', 'POST', '//token'),
  routed('a form to a path in upper case', 'POST', '/TOKEN'),
  routed('a form to a path with a NUL', 'POST', '/token%00'),
  routed('a form to a path with a dot behind', 'POST', '/token.'),
];

/** The bytes of an honest exchange: `lines` are the head's, without the first. */
function bytes(world: BrokerWorld, change: (lines: string[], body: string) => string | Buffer): Promise<Outcome> {
  const body = new URLSearchParams(renewalForm(world.session)).toString();
  const [, authorization, , dpop] = asSession(world, 'POST', '/token');
  const lines = [
    ...['POST /token HTTP/1.1', `Host: ${world.broker.tls!.name}:${world.broker.port}`],
    ...[`Authorization: ${authorization}`, `DPoP: ${dpop}`, `${FORM[0]}: ${FORM[1]}`],
    ...[`Content-Length: ${body.length}`, 'Connection: close'],
  ];
  return sendBytes(world.broker, change(lines, body));
}
const head = (lines: readonly string[]) => `${lines.join('\r\n')}\r\n\r\n`;
const raw = (
  fault: string,
  change: (lines: string[], body: string) => string | Buffer,
  code = 'HTTP/1.1 400 Bad Request',
): Input => ({
  fault,
  code,
  control: (world) => bytes(world, (lines, body) => head(lines) + body),
  attack: (world) => bytes(world, change),
});
const withLine = (fault: string, line: string, code?: string) =>
  raw(fault, (lines, body) => head([...lines, line]) + body, code);

const WIRE: readonly Input[] = [
  withLine('a request with a length and chunks', 'Transfer-Encoding: chunked'),
  withLine('a request with two lengths', 'Content-Length: 5'),
  withLine('a request with an unknown transfer coding', 'Transfer-Encoding: xchunked'),
  withLine('a request with a space before the colon of a header', 'X-Header : value'),
  withLine('a request with a NUL in a header', 'X-Header: a\0b'),
  withLine('a request with a header without a name', ': value'),
  withLine('a request whose header is too long', `X-Header: ${'x'.repeat(20_000)}`, 'HTTP/1.1 431 '),
  raw(
    'a request whose length is negative',
    (lines, body) => head(lines.map((line) => line.replace(/^(Content-Length: )/, '$1-'))) + body,
  ),
  raw(
    'a request whose length has a sign',
    (lines, body) => head(lines.map((line) => line.replace(/^(Content-Length: )/, '$1+'))) + body,
  ),
  raw(
    'a request whose length is hex',
    (lines, body) => head(lines.map((line) => line.replace(/^(Content-Length: ).*/, '$10xff'))) + body,
  ),
  raw('a request without a Host', (lines, body) => head(lines.filter((line) => !line.startsWith('Host'))) + body),
  raw('a request whose chunks have no size', (lines, body) => {
    const chunked = lines.map((line) => (line.startsWith('Content-Length') ? 'Transfer-Encoding: chunked' : line));
    return `${head(chunked)}zz\r\n${body}\r\n0\r\n\r\n`;
  }),
  raw(
    'a request of a version that is none',
    (lines, body) => head([lines[0]!.replace('1.1', '9.9'), ...lines.slice(1)]) + body,
  ),
  raw('a preface of HTTP/2', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
];

const operators = ({ dataPath }: BrokerWorld) => ['Authorization', `Bearer ${dataPath.meshpass.operatorToken}`];
const JSON_TYPE = ['Content-Type', 'application/json'];

/** Sends the right token to the wrong listener. */
const elsewhere = (fault: string, path: string, more: readonly string[] = []): Input => ({
  fault,
  code: 'not_found',
  control: (world) => ask(world.operator, { method: 'GET', path: '/admin/sessions', headers: operators(world) }),
  attack: (world) => ask(world.broker, { method: 'GET', path, headers: [...operators(world), ...more] }),
});

const LISTENERS: readonly Input[] = [
  elsewhere('sessions at the public listener', '/admin/sessions'),
  elsewhere('sessions at the public listener, in upper case', '/ADMIN/sessions'),
  elsewhere('sessions at the public listener, with two slashes', '//admin/sessions'),
  elsewhere('sessions at the public listener, with a slash behind', '/admin/sessions/'),
  elsewhere('sessions at the public listener, spelled in percent', '/%61dmin/sessions'),
  elsewhere('sessions at the public listener, with the slash in percent', '/admin%2fsessions'),
  elsewhere('sessions at the public listener, through a path of its own', '/jwks/../admin/sessions'),
  elsewhere('sessions at the public listener, through dots in percent', '/jwks/%2e%2e/admin/sessions'),
  elsewhere('sessions at the public listener, with a NUL', '/admin/sessions%00'),
  elsewhere('sessions at the public listener, with a parameter of the path', '/admin;x=y/sessions'),
  elsewhere('sessions at the public listener, by the Host of the other', '/admin/sessions', ['Host', '127.0.0.1:9090']),
  elsewhere('sessions at the public listener, as from a loopback', '/admin/sessions', ['X-Forwarded-For', '127.0.0.1']),
  elsewhere('sessions at the public listener, as rewritten by a proxy', '/jwks/x', [
    'X-Original-URL',
    '/admin/sessions',
  ]),
  elsewhere('the audit log at the public listener', '/audit'),
  elsewhere('the export at the public listener', '/audit/export'),
  elsewhere('the metrics at the public listener', '/metrics'),
  elsewhere('the keys and roots at the public listener', '/admin/trust'),
];

/** `POST` at the operator listener, with the right token. */
function order(fault: string, path: string, code: string, good: object, bad: string | object): Input {
  const send = (world: BrokerWorld, body: string | object) =>
    ask(world.operator, {
      method: 'POST',
      path,
      headers: [...JSON_TYPE, ...operators(world)],
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  return { fault, code, control: (world) => send(world, good), attack: (world) => send(world, bad) };
}
const NOBODY = { id: 'nobody' };
const close = (fault: string, bad: string | object) => order(fault, '/admin/sessions/close', MALFORMED, NOBODY, bad);

/** Accepted is an answer that has rows. */
function query(fault: string, bad: string): Input {
  const rows = async (world: BrokerWorld, path: string): Promise<Outcome> => {
    const { accepted, answer, json } = await ask(world.operator, { method: 'GET', path, headers: operators(world) });
    return { accepted: accepted && json.rows.length > 0, answer };
  };
  return {
    fault,
    control: (world) => rows(world, `/audit?session=${world.session.id}`),
    attack: (world) => rows(world, `/audit?${bad}`),
  };
}

const ORDERS: readonly Input[] = [
  close('a closing without a selection', {}),
  close('a closing by two selectors', { ...NOBODY, user: 'x' }),
  close('a closing with an unknown member', { ...NOBODY, force: true }),
  close('a closing of all, as text', { all: 'true' }),
  close('a closing of a list', [NOBODY]),
  close('a closing of one member twice', '{"id":"nobody","id":"somebody"}'),
  close('a closing with a mark before it', `\ufeff${JSON.stringify(NOBODY)}`),
  close('a closing that is nested deep', `${'['.repeat(30_000)}${']'.repeat(30_000)}`),
  close('a closing with an escape sequence in its reason', { ...NOBODY, reason: '\u001b[2J' }),
  close('a closing that is no JSON', "{id: 'nobody'}"),
  query('an audit filter with another condition', `session=${encodeURIComponent("x' or '1'='1")}`),
  query('an audit filter with a statement', `after=${encodeURIComponent('0; drop table audit')}`),
  query('an audit filter with a wildcard', 'session=%25'),
  query('an audit page that is too long', 'limit=100000'),
  query('an audit page of a negative length', 'limit=-1'),
];

/** Wrong tokens, each from a host of the lab that has tried few: who tries many is not answered any more. */
const HOSTS = ['github', 'orders', 'web'] as const;
const WRONG: readonly (readonly [string, (token: string) => Record<string, string>])[] = [
  ['no token', () => ({})],
  ['an empty token', () => ({ authorization: 'Bearer ' })],
  ['the beginning of the token', (token) => ({ authorization: `Bearer ${token.slice(0, -1)}` })],
  ['the token with something behind it', (token) => ({ authorization: `Bearer ${token}x` })],
  ['the token in upper case', (token) => ({ authorization: `Bearer ${token.toUpperCase()}` })],
  ['the token twice', (token) => ({ authorization: `Bearer ${token} ${token}` })],
  ['the token without a scheme', (token) => ({ authorization: token })],
  ['the token by another scheme', (token) => ({ authorization: `Token ${token}` })],
  ['the token as a password', (token) => ({ authorization: `Basic ${Buffer.from(`a:${token}`).toString('base64')}` })],
  ['the token in a cookie', (token) => ({ cookie: `authorization=Bearer ${token}` })],
  ['the token in a header of its own', (token) => ({ 'x-operator-token': token })],
];
const TOKENS: readonly Input[] = WRONG.map(([fault, headers], at) => {
  const host = HOSTS[at % HOSTS.length]!;
  const send = async ({ dataPath }: BrokerWorld, given: Record<string, string>): Promise<Outcome> => {
    const adversary = dataPath.adversary(host);
    const answer = await adversary.ask('GET', `${dataPath.meshpass.operatorUrl}/admin/sessions`, { headers: given });
    adversary.end();
    return { accepted: answer.status === 200, answer: `${answer.status} ${answer.text.slice(0, 200)}` };
  };
  return {
    fault: `operators: ${fault}`,
    code: 'operator_unauthorized',
    control: (world) => send(world, { authorization: `Bearer ${world.dataPath.meshpass.operatorToken}` }),
    attack: (world) => send(world, headers(world.dataPath.meshpass.operatorToken)),
  };
});

/** Accepted is a row whose source is not the address that the request came from. */
const SOURCES: readonly Input[] = [
  ['X-Forwarded-For', '198.51.100.9'],
  ['X-Forwarded-For', '198.51.100.9, 127.0.0.1'],
  ['X-Real-IP', '198.51.100.9'],
  ['Forwarded', 'for=198.51.100.9'],
].map(([name, value]) => {
  const source = async (world: BrokerWorld, more: readonly string[]): Promise<string> => {
    const { json } = await ask(world.broker, { method: 'GET', path: '/services', headers: more });
    const [row] = await world.dataPath.auditPage({ decision: json.decision_id });
    return String((row as unknown as { source: string }).source);
  };
  return {
    fault: `a source that ${name}: ${value} makes up`,
    control: async (world: BrokerWorld) => ({ accepted: /^[\d.:a-f]+$/.test(await source(world, [])), answer: '' }),
    attack: async (world: BrokerWorld) => {
      const said = await source(world, [name!, value!]);
      return { accepted: said !== (await source(world, [])), answer: said };
    },
  };
});

export const brokerHttp: HostileArea<BrokerWorld> = {
  name: 'broker: HTTP, public and of operators',
  open: openBroker,
  close: ({ dataPath }) => dataPath.close(),
  inputs: [...FORMS, ...WIRE, ...LISTENERS, ...ORDERS, ...TOKENS, ...SOURCES],
};
