/** `POST /token` byte by byte: forms that a lenient reader would understand in some way, or in two. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createDpopProof, dpopKey } from '@meshpass/identity';
import { GITHUB_PROOF, ID_TOKEN_PROOF } from '../mesh.ts';
import type { Outcome } from './area.ts';
import { BOB, type Input, type Issuers, outcomeOf, unique } from './issuers.ts';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const FORM_TYPE = 'application/x-www-form-urlencoded';

interface FormFault {
  /** Changes the parameters, in order. */
  readonly form?: (parameters: [string, string][]) => [string, string][];
  readonly contentType?: string | null;
  readonly body?: (text: string) => string;
  readonly path?: string;
}

/** `POST /token` byte by byte, with a DPoP proof that is in order. */
async function send({ dataPath, adversary }: Issuers, fault: FormFault = {}): Promise<Outcome> {
  const { form = (same) => same, contentType = FORM_TYPE, body = (same) => same, path = '/token' } = fault;
  const token = await dataPath.idp.idToken({ subject: BOB, claims: unique() });
  const parameters = form([
    ['grant_type', EXCHANGE],
    ['subject_token', token],
    ['subject_token_type', ID_TOKEN_PROOF],
  ]);
  const url = dataPath.meshpass.brokerUrl + path;
  const key = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const now = Math.floor(Date.now() / 1000);
  const headers = {
    dpop: createDpopProof({ key, method: 'POST', url: `${dataPath.meshpass.brokerUrl}/token`, now, jti: randomUUID() }),
    ...(contentType !== null && { 'content-type': contentType }),
  };
  const text = body(new URLSearchParams(parameters).toString());
  return outcomeOf(await adversary.ask('POST', url, { headers, body: text }));
}

const form = (fault: string, what: FormFault, code = 'request_malformed'): Input => ({
  fault: `a form ${fault}`,
  code,
  attack: (world) => send(world, what),
  control: (world) => send(world),
});
const instead = (name: string, value: string) => (parameters: [string, string][]) =>
  parameters.map(([key, old]): [string, string] => [key, key === name ? value : old]);
const without = (name: string) => (parameters: [string, string][]) => parameters.filter(([key]) => key !== name);
const beside = (name: string, value: string) => (parameters: [string, string][]) =>
  [...parameters, [name, value]] as [string, string][];

export const FORMS: readonly Input[] = [
  form('with another grant type', { form: instead('grant_type', 'client_credentials') }, 'grant_type_unsupported'),
  form(
    'with the grant type in capitals',
    { form: instead('grant_type', EXCHANGE.toUpperCase()) },
    'grant_type_unsupported',
  ),
  form('without a grant type', { form: without('grant_type') }),
  form('without a token', { form: without('subject_token') }),
  form('without the type of its token', { form: without('subject_token_type') }),
  form('with two grant types', { form: beside('grant_type', EXCHANGE) }),
  form('with two tokens', { form: beside('subject_token', 'x.y.z') }),
  form('with two types of token', { form: beside('subject_token_type', GITHUB_PROOF) }),
  form(
    'that says an ID token is of SAML',
    {
      form: instead('subject_token_type', 'urn:ietf:params:oauth:token-type:saml2'),
    },
    'proof_type_unsupported',
  ),
  form(
    'that says an ID token is an access token',
    {
      form: instead('subject_token_type', 'urn:ietf:params:oauth:token-type:access_token'),
    },
    'proof_type_unsupported',
  ),
  form(
    "that says an ID token is a Codespace's",
    { form: instead('subject_token_type', GITHUB_PROOF) },
    'proof_malformed',
  ),
  form(
    "that says an ID token is a session's",
    {
      form: instead('subject_token_type', 'urn:meshpass:token-type:session'),
    },
    'session_token_missing',
  ),
  form('with an actor', { form: beside('actor_token', 'x') }),
  form('with a scope', { form: beside('scope', 'everything') }),
  form('with a resource', { form: beside('resource', 'https://orders.shop') }),
  form('with an audience beside a proof', { form: beside('audience', 'sts.amazonaws.com') }),
  form('that asks for an ID token for a proof', { form: beside('requested_token_type', ID_TOKEN_PROOF) }),
  form('whose token has a space in it', { body: (text) => text.replace('.', '.+') }, 'proof_malformed'),
  form(
    'whose token is one string that never ends',
    { form: instead('subject_token', `e30.${Buffer.from('\\"'.repeat(6_000)).toString('base64url')}.c2ln`) },
    'proof_malformed',
  ),
  form('without a content type', { contentType: null }),
  form('that says it is JSON', { contentType: 'application/json' }),
  form('that says it is of many parts', { contentType: 'multipart/form-data; boundary=x' }),
  form('in another character set', { contentType: `${FORM_TYPE}; charset=utf-16` }),
  form('that is JSON', { body: (text) => JSON.stringify(Object.fromEntries(new URLSearchParams(text))) }),
  form('of more than 64 KiB', { body: (text) => `${text}&padding=${'x'.repeat(70_000)}` }, 'request_too_large'),
  form('at another address', { path: '/token/' }, 'not_found'),
  form('with its parameters in the address', { path: '/token?subject_token=x', form: without('subject_token') }),
];
