/** Session tokens and exchanges that are almost right, each with an honest DPoP proof or a proof without an enrolment. */
import { randomBytes } from 'node:crypto';
import type { HostileInput } from './area.ts';
import {
  asSession,
  type BrokerWorld,
  type Draft,
  draftProof,
  enrol,
  FORM,
  p256,
  proof,
  proofForm,
  renewalForm,
  sealed,
} from './broker-world.ts';
import { type Answered, ask } from './requests.ts';

type Input = HostileInput<BrokerWorld>;

const MALFORMED = 'dpop_malformed';

const honest = (world: BrokerWorld): Promise<Answered> =>
  ask(world.broker, { method: 'GET', path: '/services', headers: asSession(world, 'GET', '/services') });

/** @param headers instead of an honest `Authorization`; the proof is honest */
function token(fault: string, code: string, headers: (world: BrokerWorld) => readonly string[]): Input {
  return {
    fault,
    code,
    control: honest,
    attack: (world) => {
      const { key, token: held } = world.session;
      const dpop = proof({ key, method: 'GET', url: `${world.url}/services`, token: held });
      return ask(world.broker, { method: 'GET', path: '/services', headers: [...headers(world), 'DPoP', dpop] });
    },
  };
}

const MISSING = 'session_token_missing';
export const SESSION_TOKENS: readonly Input[] = [
  token('a session token as a bearer', MISSING, ({ session }) => ['Authorization', `Bearer ${session.token}`]),
  token('a session token without a scheme', MISSING, ({ session }) => ['Authorization', session.token]),
  token('a session token as a password', MISSING, ({ session }) => [
    ...['Authorization', `Basic ${Buffer.from(`dpop:${session.token}`).toString('base64')}`],
  ]),
  token('a session token in a cookie', MISSING, ({ session }) => ['Cookie', `token=${session.token}`]),
  token('no session token', MISSING, () => []),
  token('a session token that is cut', MISSING, ({ session }) => [
    'Authorization',
    `DPoP ${session.token.slice(0, -1)}`,
  ]),
  token('a session token with something behind it', MISSING, ({ session }) => [
    'Authorization',
    `DPoP ${session.token}x`,
  ]),
  token('two session tokens in one header', MISSING, ({ session, other }) => [
    ...['Authorization', `DPoP ${session.token}, DPoP ${other.token}`],
  ]),
  token('a session token whose last character was changed', 'session_unknown', ({ session }) => [
    ...['Authorization', `DPoP ${session.token.slice(0, -5)}${session.token.endsWith('AAAAA') ? 'BBBBB' : 'AAAAA'}`],
  ]),
  token('a session token that was never issued', 'session_unknown', () => [
    ...['Authorization', `DPoP mps_${randomBytes(32).toString('base64url')}`],
  ]),
  token("somebody else's session token with one's own key", 'dpop_key_mismatch', ({ other }) => [
    ...['Authorization', `DPoP ${other.token}`],
  ]),
  {
    fault: 'a session token in the query',
    code: MISSING,
    control: honest,
    attack: ({ broker, session, url: base }) => {
      const dpop = proof({ key: session.key, method: 'GET', url: `${base}/services`, token: session.token });
      return ask(broker, { method: 'GET', path: `/services?access_token=${session.token}`, headers: ['DPoP', dpop] });
    },
  },
];

function renewal(
  fault: string,
  code: string,
  change: (world: BrokerWorld) => { form?: object; headers?: string[] },
): Input {
  const send = (world: BrokerWorld, { form = {}, headers = asSession(world, 'POST', '/token') } = change(world)) => {
    const body = new URLSearchParams({ ...renewalForm(world.session), ...form }).toString();
    return ask(world.broker, { method: 'POST', path: '/token', headers: [...FORM, ...headers], body });
  };
  return { fault, code, control: (world) => send(world, {}), attack: (world) => send(world) };
}

export const EXCHANGES: readonly Input[] = [
  renewal("an exchange of another person's session token in one's own session", 'request_malformed', ({ other }) => ({
    form: { subject_token: other.token },
  })),
  renewal('an exchange of a session token that no header names', MISSING, ({ session, url: base }) => ({
    headers: ['DPoP', proof({ key: session.key, method: 'POST', url: `${base}/token` })],
  })),
  {
    fault: 'an enrolment whose proof is for another path of the broker',
    code: 'dpop_mismatch',
    ...enrolling((draft, base) => {
      draft.claims.htu = `${base}/certificates`;
    }),
  },
  {
    fault: 'an enrolment whose key is no point of the curve',
    code: MALFORMED,
    ...enrolling((draft) => {
      draft.header.jwk = { ...(draft.header.jwk as object), y: Buffer.alloc(32, 1).toString('base64url') };
    }),
  },
  {
    fault: 'an enrolment whose key has coordinates beyond the field',
    code: MALFORMED,
    ...enrolling((draft) => {
      draft.header.jwk = { ...(draft.header.jwk as object), x: Buffer.alloc(32, 255).toString('base64url') };
    }),
  },
];

function enrolling(change: (draft: Draft, base: string) => void) {
  const send = async (world: BrokerWorld, lie: (draft: Draft, base: string) => void) => {
    const draft = draftProof({ key: p256(), method: 'POST', url: `${world.url}/token` });
    lie(draft, world.url);
    return await enrol(world.broker, await proofForm(world.dataPath), sealed(draft));
  };
  return {
    attack: (world: BrokerWorld) => send(world, change),
    control: (world: BrokerWorld) => send(world, () => {}),
  };
}
