/** The form of `trust`: whose word is taken. */
import { isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { invalid, type Parsed } from '../problem.ts';
import { type DurationBounds, parseDuration } from './duration.ts';
import { parseLogin } from './pattern.ts';
import { checked, LOGIN, named, read, text } from './text.ts';

/** Signatures that a verifier can check without knowing a secret (RFC 7518 section 3.1, RFC 8037). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
const DEFAULT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
export const GITHUB_ACTIONS_ISSUER = 'https://token.actions.githubusercontent.com';

/** Only the lab has identity providers without TLS. */
export interface SchemaOptions {
  readonly dangerouslyAllowPlainHttpIssuers?: boolean;
}

export function trust(options: SchemaOptions) {
  return z.strictObject({
    codespaces: z.strictObject({ organization: read(parseLogin, { pattern: `^${LOGIN}$` }) }).optional(),
    issuers: named(issuer(options), parseIssuerName).default({}),
    audiences: z
      .array(checked(parseAudience, { pattern: '^[^\\s*]+$' }))
      .max(50, 'more than 50 audiences')
      .default([]),
  });
}

/** How often a sign-in is confirmed by a fresh ID token, where there is a refresh token. */
const CONFIRM: DurationBounds = { least: '30s', most: '1h' };
/** Entra ID does so by five minutes, lest a clock that is behind refuse the token. */
const BACKDATED: DurationBounds = { least: '1s', most: '5m' };

/** A public client (RFC 8252): it has no secret, and the loopback redirect or the device flow in its place. */
const signIn = z.strictObject({
  client: checked(parseClient, {
    description: 'Client id of the public OAuth client, registered at the issuer; the `aud` of its ID tokens',
    pattern: '^[!-~]+$',
  }),
  operatorClient: checked(parseClient, {
    description: 'Client id of another one, with which operators sign in in place of it',
    pattern: '^[!-~]+$',
  }).optional(),
  subjectType: z
    .enum(['public', 'pairwise'])
    .optional()
    .describe('public: a person has the same sub at both clients. Approvals need it where there is an operatorClient'),
  scopes: z
    .array(checked(parseScope, { pattern: '^[!#-\\[\\]-~]+$' }))
    .max(20, 'more than 20 scopes')
    .default([])
    .describe('Scopes beside openid, for the claims that entries need'),
  refresh: z
    .boolean()
    .default(true)
    .describe(
      'Whether a refresh token is asked for (offline_access), by which sign-ins of workspaces and operators are confirmed',
    ),
  consent: z
    .boolean()
    .optional()
    .describe('false: operators get a refresh token without prompt=consent, for a provider that refuses it'),
  backdated: read((input) => parseDuration(input, BACKDATED), {
    description: 'How much older than it is the issuer says that an ID token is (`iat`): 5m for Entra ID, up to 5m',
    pattern: '^[1-9][0-9]{0,5}[smh]$',
  }).optional(),
  confirm: read((input) => parseDuration(input, CONFIRM), {
    description: 'A sign-in that is not confirmed for so long ends, 30s to 1h',
    pattern: '^[1-9][0-9]{0,5}[smh]$',
  }).prefault('60s'),
  nonce: z
    .enum(['required', 'optional'])
    .default('optional')
    .describe('required: for a provider that puts the nonce of the device flow into ID tokens, which few do'),
});

function issuer(options: SchemaOptions) {
  return z
    .strictObject({
      issuer: checked((input) => parseIssuer(input, options), {
        description: 'Exactly as in `iss` of its tokens',
        pattern: options.dangerouslyAllowPlainHttpIssuers ? '^https?://[^?#*\\s]+$' : '^https://[^?#*\\s]+$',
      }),
      audience: text,
      algorithms: z
        .array(checked(parseAlgorithm, { pattern: `^(${ALGORITHMS.join('|')})$` }))
        .min(1, 'must not be empty')
        .default(DEFAULT_ALGORITHMS),
      kind: z.enum(['generic', 'actions']).optional(),
      signIn: signIn.optional().describe('With which public client people sign in at this issuer'),
    })
    .superRefine((entry, context) => {
      if (entry.signIn && (entry.kind ?? kindOf(entry.issuer)) === 'actions')
        context.addIssue({
          ...{ code: 'custom', path: ['signIn'] },
          message: 'nobody signs in at GitHub Actions: its tokens are of jobs; leave "signIn" out',
        });
      if (entry.signIn?.subjectType !== undefined && entry.signIn.operatorClient === undefined)
        context.addIssue({
          ...{ code: 'custom', path: ['signIn', 'subjectType'] },
          message: 'it compares "client" with "operatorClient", and there is none: leave it out',
        });
      const { client, operatorClient } = entry.signIn ?? {};
      // What else of an issuer ID tokens of operators would be for.
      const same = Object.entries({ client, audience: entry.audience }).find(([, id]) => id === operatorClient)?.[0];
      if (operatorClient !== undefined && same !== undefined)
        context.addIssue({
          ...{ code: 'custom', path: ['signIn', 'operatorClient'] },
          message: `it must differ from "${same}", so that an ID token of an operator is of no use to a workspace: register a second client`,
        });
    })
    .transform((entry) => ({ ...entry, kind: entry.kind ?? kindOf(entry.issuer) }));
}

function parseIssuerName(name: string): Parsed<string> {
  if (name === 'github') return invalid('"github" always means Codespaces: choose another name for this issuer');
  return isDnsLabel(name)
    ? { value: name }
    : invalid(`"${name}" is no name of an issuer: lower-case letters, digits and inner hyphens`);
}

/** OpenID Connect Core section 2, `iss`: https, host, optionally port and path, no query, no fragment. */
function parseIssuer(input: string, options: SchemaOptions): Parsed<string> {
  const url = URL.canParse(input) ? new URL(input) : undefined;
  const secure =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && options.dangerouslyAllowPlainHttpIssuers === true);
  if (!url || !secure || url.username || url.password || /[?#*\s]/.test(input)) {
    return invalid(`${JSON.stringify(input)} is no issuer: write its https URL exactly as in its tokens`);
  }
  return { value: input };
}

/** RFC 6749 appendix A.1, without the space: a client id stands in URLs and in `aud`. */
function parseClient(input: string): Parsed<string> {
  return /^[\x21-\x7e]+$/.test(input)
    ? { value: input }
    : invalid(`${JSON.stringify(input)} is no client id: it has other characters than printable ASCII`);
}

/** RFC 6749 section 3.3. */
function parseScope(input: string): Parsed<string> {
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(input) && input !== 'openid'
    ? { value: input }
    : invalid(`${JSON.stringify(input)} is no scope to ask for: name one each; openid is asked for anyway`);
}

function parseAlgorithm(input: string): Parsed<string> {
  return ALGORITHMS.some((algorithm) => algorithm === input)
    ? { value: input }
    : invalid(`${JSON.stringify(input)} is not taken: one of ${ALGORITHMS.join(', ')}`);
}

/** What istiod and the broker themselves take as an audience must never be handed to a workspace. */
const OWN_AUDIENCES = new Set(['istio-ca', 'meshpass-broker']);

function parseAudience(input: string): Parsed<string> {
  if (/[\s*]/.test(input)) return invalid(`${JSON.stringify(input)} is no audience: name one exactly`);
  return OWN_AUDIENCES.has(input) || input.startsWith('https://kubernetes.default')
    ? invalid(`the audience ${input} belongs to the cluster: no ID token is given for it`)
    : { value: input };
}

function kindOf(issuerUrl: string): 'generic' | 'actions' {
  return issuerUrl === GITHUB_ACTIONS_ISSUER || issuerUrl.startsWith(`${GITHUB_ACTIONS_ISSUER}/`)
    ? 'actions'
    : 'generic';
}
