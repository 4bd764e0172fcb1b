/** Requests to the broker's page that no browser of a person who is signed in there sends, against the real broker and a real provider. */
import { csrfToken } from '../../../packages/broker/src/admin/operator/page/cookies.ts';
import { Browser } from '../../../packages/broker/test/harness/approval/browser.ts';
import { type PageWorld, SESSION, startPage } from '../../../packages/broker/test/harness/approval/page.ts';
import type { HostileArea, HostileInput, Outcome } from '../area.ts';
import { type Answered, ask, sendBytes, type Target } from '../requests.ts';

export interface HostilePage {
  readonly world: PageWorld;
  readonly page: Target;
  readonly broker: Target;
  /** Tokens of the sessions of two people: in their cookies. */
  readonly bob: string;
  readonly alice: string;
}

const FORGED = 'operator_form_forged';
const MALFORMED = 'request_malformed';
const ENDED = 'operator_session_ended';
const PATH = `/approvals/${'0'.repeat(24)}`;
const FORM = 'application/x-www-form-urlencoded';

async function open(): Promise<HostilePage> {
  const world = await startPage();
  // Each form advances the clock, and unconfirmed sign-ins are not tested here.
  world.harness.mesh.setOperators(world.operators);
  world.harness.confirmSeconds = 3_600;
  const tokenOf = async (login: string) => {
    const browser = new Browser();
    await world.signIn(browser, login, '/approvals');
    return browser.cookies.get(world.origin)!.get(SESSION)!;
  };
  const tls = { name: 'localhost', caFile: world.harness.caFile };
  return {
    world,
    page: { host: '127.0.0.1', port: Number(new URL(world.origin).port) },
    broker: { host: '127.0.0.1', port: world.harness.broker.port, tls },
    bob: await tokenOf('00u2bob'),
    alice: await tokenOf('00u1alice'),
  };
}

interface Sent {
  method: string;
  path: string;
  headers: string[];
  body: string | Buffer;
}

type Change = (sent: Sent, place: HostilePage) => void;

/**
 * Sends a form about a request that does not exist. It is accepted if the broker reads it.
 * @param after ms that pass before it, on the broker's clock
 */
async function form(place: HostilePage, change: Change, after = 12_000): Promise<Outcome> {
  // Failed tries of a source are bounded, and no subject here.
  place.world.harness.clockAhead += after;
  const fields = { form: csrfToken(place.bob, PATH), decision: 'approve', minutes: '5', reason: '' };
  const sent: Sent = {
    method: 'POST',
    path: PATH,
    body: new URLSearchParams(fields).toString(),
    headers: ['Content-Type', FORM, 'Origin', place.world.origin, 'Cookie', `${SESSION}=${place.bob}`],
  };
  change(sent, place);
  return read(await ask(place.page, sent));
}

function read({ status, text, answer }: Answered): Outcome {
  const code = /<code>([a-z_]+)<\/code>/.exec(text)?.[1] ?? answer;
  return { accepted: code === 'approval_unknown' || (status >= 200 && status < 400), answer: `${status} ${code}` };
}

type Input = HostileInput<HostilePage>;
const sends = (fault: string, code: string, change: Change): Input => ({
  fault: `a form ${fault}`,
  code,
  control: (place) => form(place, () => {}),
  attack: (place) => form(place, change),
});
const header = (fault: string, code: string, name: string, value: string | undefined) =>
  sends(fault, code, (sent) => {
    const rest = sent.headers.flatMap((one, at) => (at % 2 === 0 && one !== name ? [one, sent.headers[at + 1]!] : []));
    sent.headers = value === undefined ? rest : [...rest, name, value];
  });
const more = (fault: string, code: string, name: string, value: string) =>
  sends(fault, code, (sent) => sent.headers.push(name, value));
const field = (fault: string, name: string, value: string, code = MALFORMED) =>
  sends(fault, code, (sent) => {
    const fields = new URLSearchParams(String(sent.body));
    fields.set(name, value);
    sent.body = fields.toString();
  });
const token = (fault: string, of: (place: HostilePage) => string) =>
  sends(fault, FORGED, (sent, place) => {
    const fields = new URLSearchParams(String(sent.body));
    fields.set('form', of(place));
    sent.body = fields.toString();
  });
const cookie = (fault: string, of: (place: HostilePage) => string, code: string = ENDED) =>
  sends(fault, code, (sent, place) => {
    sent.headers[sent.headers.indexOf('Cookie') + 1] = of(place);
  });

const FORMS: readonly Input[] = [
  header('without an origin', FORGED, 'Origin', undefined),
  header('of no origin', FORGED, 'Origin', 'null'),
  header('of another origin', FORGED, 'Origin', 'https://evil.example'),
  header('of the origin with a slash', FORGED, 'Origin', 'http://127.0.0.1/'),
  header('of another port', FORGED, 'Origin', 'http://127.0.0.1:1'),
  header('of the same host by TLS', FORGED, 'Origin', 'https://127.0.0.1'),
  more('of two origins', FORGED, 'Origin', 'https://evil.example'),
  more('of another site by Fetch Metadata', FORGED, 'Sec-Fetch-Site', 'cross-site'),
  more('of a neighbour by Fetch Metadata', FORGED, 'Sec-Fetch-Site', 'same-site'),
  more('that a person did not begin, by Fetch Metadata', FORGED, 'Sec-Fetch-Site', 'none'),
  header('that says it is text', MALFORMED, 'Content-Type', 'text/plain'),
  header('that says it is JSON', MALFORMED, 'Content-Type', 'application/json'),
  header('that says it has several parts', MALFORMED, 'Content-Type', 'multipart/form-data; boundary=x'),
  header('that does not say what it is', MALFORMED, 'Content-Type', undefined),
  token('without its token', () => ''),
  token('with the token of another path', ({ bob }) => csrfToken(bob, '/page/sign-out')),
  token('with the token of another request', ({ bob }) => csrfToken(bob, `/approvals/${'1'.repeat(24)}`)),
  token("with the token of another person's session", ({ alice }) => csrfToken(alice, PATH)),
  token('with the beginning of its token', ({ bob }) => csrfToken(bob, PATH).slice(0, -1)),
  token('with the session itself as its token', ({ bob }) => bob),
  cookie('without a session', () => 'x=y'),
  cookie('with the beginning of a session', ({ bob }) => `${SESSION}=${bob.slice(0, -1)}`),
  cookie('with a session under the name without its prefix', ({ bob }) => `meshpass-operator=${bob}`),
  cookie("with somebody else's session", ({ alice }) => `${SESSION}=${alice}`, FORGED),
  field('for no time', 'minutes', '0'),
  field('for less than no time', 'minutes', '-5'),
  field('for a time in powers of ten', 'minutes', '1e2'),
  field('for days', 'minutes', '9999'),
  field('for a time with a space', 'minutes', ' 5'),
  field('that decides something else', 'decision', 'revoke'),
  field('with an escape sequence', 'reason', '\u001b[2J'),
  field('with a NUL', 'reason', 'a\0b'),
  field('with a long reason', 'reason', 'x'.repeat(300)),
  field('with an unknown field', 'person', 'bob'),
  field('with a prototype', '__proto__', 'x'),
  field('that is too long', 'reason', 'x'.repeat(5_000), 'request_too_large'),
  sends('with a field twice', MALFORMED, (sent) => {
    sent.body = `${sent.body}&decision=deny`;
  }),
  sends('that is not UTF-8', MALFORMED, (sent) => {
    sent.body = Buffer.concat([Buffer.from(String(sent.body)), Buffer.from('\xff\xfe', 'latin1')]);
  }),
  sends('that is too long and does not say so', 'request_too_large', (sent) => {
    sent.body = `${sent.body}${'x'.repeat(5_000)}`;
    sent.headers.push('Transfer-Encoding', 'chunked');
  }),
  sends('that is put', 'not_found', (sent) => Object.assign(sent, { method: 'PUT' })),
  sends('to a path in upper case', 'not_found', (sent) => Object.assign(sent, { path: PATH.toUpperCase() })),
  sends('to a path with a slash behind', 'not_found', (sent) => Object.assign(sent, { path: `${PATH}/` })),
];

/** A page that is looked at. */
const look = (
  fault: string,
  path: string,
  isLetIn: (answer: Answered) => boolean,
  headers: (place: HostilePage) => string[] = () => [],
): Input => ({
  fault,
  control: async ({ page, bob }) =>
    read(await ask(page, { method: 'GET', path: '/approvals', headers: ['Cookie', `${SESSION}=${bob}`] })),
  attack: async (place) => {
    place.world.harness.clockAhead += 12_000;
    const answer = await ask(place.page, { method: 'GET', path, headers: headers(place) });
    return { accepted: isLetIn(answer), answer: `${answer.status} ${answer.location ?? ''}` };
  },
});
const leads = ({ location = '', text }: Answered) => /evil/.test(location) || /(href|action)="[^"]*evil/.test(text);
const shows = ({ text }: Answered) => text.includes('Signed in as');
const isRead = ({ status }: Answered) => status >= 200 && status < 300;

const LOOKS: readonly Input[] = [
  look('a sign-in that leads elsewhere afterwards', '/page/sign-in?request=//evil.example', leads),
  look('a sign-in at a name that is an address', '/page/sign-in/https:%2f%2fevil.example', leads),
  look('a request that is an address', '/approvals/%2f%2fevil.example', leads),
  look('a request that is an address, with a backslash', '/approvals/%5c%5cevil.example', leads),
  look('a sign-in for another host', '/page/sign-in/corp', leads, () => ['Host', 'evil.example']),
  look('a sign-in for another host, by a proxy', '/page/sign-in/corp', leads, () => [
    ...['X-Forwarded-Host', 'evil.example', 'Forwarded', 'host=evil.example'],
  ]),
  look('an unsolicited answer of the provider', '/page/callback/corp?code=x&state=y', isRead),
  look('an answer of another provider', '/page/callback/nobody?code=x&state=y', isRead),
  look('an answer of the provider with a script', '/page/callback/corp?error=%3Cscript%3Eevil', ({ text }) =>
    text.includes('<script'),
  ),
  look('a session in a header of its own', '/approvals', shows, ({ bob }) => ['Authorization', `Bearer ${bob}`]),
  look('a session in the query', `/approvals?${SESSION}=x`, shows),
  look('the session of the page at the API', '/admin/sessions', isRead, ({ bob }) => [
    'Authorization',
    `Bearer ${bob}`,
  ]),
  look('the session of the page at the API, in its cookie', '/admin/sessions', isRead, ({ bob }) => [
    'Cookie',
    `${SESSION}=${bob}`,
  ]),
  look('a request with a flood of cookies', '/approvals', shows, () => [
    'Cookie',
    Array(500).fill(`${SESSION}=x`).join('; '),
  ]),
];

const OTHERS: readonly Input[] = [
  ...['/page/sign-in', '/page/callback/corp', '/approvals/x'].map(
    (path): Input => ({
      fault: `${path} at the public listener`,
      control: async ({ page }) => read(await ask(page, { method: 'GET', path: '/page/sign-in', headers: [] })),
      attack: async ({ broker, bob }) => {
        const answer = await ask(broker, { method: 'GET', path, headers: ['Cookie', `${SESSION}=${bob}`] });
        return { accepted: answer.accepted, answer: answer.answer };
      },
    }),
  ),
  {
    fault: 'a form that never comes',
    code: '408',
    control: (place) => form(place, () => {}),
    attack: ({ page, world, bob }) =>
      sendBytes(
        page,
        `POST ${PATH} HTTP/1.1\r\nHost: x\r\nOrigin: ${world.origin}\r\nContent-Type: ${FORM}\r\nCookie: ${SESSION}=${bob}\r\nContent-Length: 100\r\nConnection: close\r\n\r\nf`,
      ),
  },
  {
    fault: 'guessed sessions, which take no try from the real one',
    code: ENDED,
    control: (place) => form(place, () => {}),
    attack: async (place) => {
      const guess = (n: number) => (sent: Sent) => {
        sent.headers[sent.headers.indexOf('Cookie') + 1] = `${SESSION}=${place.bob.slice(0, -2)}${n}`;
      };
      const outcomes: Outcome[] = [];
      for (let n = 10; n < 25; n++) outcomes.push(await form(place, guess(n), 0));
      const real = await form(place, () => {}, 0);
      if (!real.accepted) throw new Error(`the real session is refused after the guesses: ${real.answer}`);
      return outcomes.find(({ accepted }) => accepted) ?? outcomes[0]!;
    },
  },
];

export const approvalPage: HostileArea<HostilePage> = {
  name: 'broker: the page for approvals',
  open,
  close: ({ world }) => world.stop(),
  inputs: [...FORMS, ...LOOKS, ...OTHERS],
};
