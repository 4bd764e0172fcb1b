/** The schema for `trust`, which lists the trusted issuers. */
import { z } from 'zod';
import { malformedText, notValid, type Parsed } from '../problem.ts';
import { duration } from './duration.ts';
import { parseLogin } from './pattern.ts';
import { keyedByName, LOGIN_PATTERN, parseLabelName, read, report, text } from './text.ts';

/** Signature algorithms that can be verified without a shared secret (RFC 7518 section 3.1, RFC 8037). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
const DEFAULT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'] as const;
export const GITHUB_ACTIONS_ISSUER = 'https://token.actions.githubusercontent.com';

/** Options for creating the schema. Only the lab uses identity providers without TLS. */
export interface SchemaOptions {
  readonly dangerouslyAllowPlainHttpIssuers?: boolean;
}

/** Creates the schema for `trust`. */
export function trust(options: SchemaOptions) {
  return z.strictObject({
    codespaces: z.strictObject({ organization: read(parseLogin, { pattern: `^${LOGIN_PATTERN}$` }) }).optional(),
    issuers: keyedByName(issuer(options), parseIssuerName).default({}),
    audiences: z
      .array(read(parseAudience, { pattern: '^[^\\s*]+$' }))
      .max(50, 'more than 50 audiences')
      .default([]),
  });
}

/** A public client (RFC 8252). It has no secret, and uses either a loopback redirect or the device flow. */
const signIn = z.strictObject({
  client: read(parseClient, {
    description: 'Client id of the public OAuth client, registered at the issuer; the `aud` of its ID tokens',
    pattern: '^[!-~]+$',
  }),
  operatorClient: read(parseClient, {
    description: 'Client id of a second public OAuth client, which operators use instead',
    pattern: '^[!-~]+$',
  }).optional(),
  subjectType: z
    .enum(['public', 'pairwise'])
    .optional()
    .describe('public: a person has the same sub at both clients. Approvals need it if there is an operatorClient'),
  scopes: z
    .array(read(parseScope, { pattern: '^[!#-\\[\\]-~]+$' }))
    .max(20, 'more than 20 scopes')
    .default([])
    .describe('Scopes besides openid, for the claims that entries need'),
  refresh: z
    .boolean()
    .default(true)
    .describe(
      'Whether to request a refresh token (offline_access). Workspaces and operators use it to confirm sign-ins',
    ),
  consent: z
    .boolean()
    .optional()
    .describe('false: operators get a refresh token without prompt=consent, for a provider that refuses it'),
  backdated: duration('How far the issuer backdates `iat` of its ID tokens (Entra ID: 5m)', '1s', '5m').optional(),
  confirm: duration('A sign-in ends if it is not confirmed for this long', '30s', '1h').prefault('60s'),
  nonce: z
    .enum(['required', 'optional'])
    .default('optional')
    .describe('required: for a provider that puts the nonce of the device flow into ID tokens. Few providers do'),
});

const algorithm = z.enum(ALGORITHMS, {
  error: ({ input }) => `${JSON.stringify(input)} is not supported: use one of ${ALGORITHMS.join(', ')}`,
});

function issuer(options: SchemaOptions) {
  return z
    .strictObject({
      issuer: read((input) => parseIssuer(input, options), {
        description: 'Exactly as in `iss` of its tokens',
        pattern: options.dangerouslyAllowPlainHttpIssuers ? '^https?://[^?#*\\s]+$' : '^https://[^?#*\\s]+$',
      }),
      audience: text,
      algorithms: z
        .array(algorithm)
        .min(1, 'must not be empty')
        .default([...DEFAULT_ALGORITHMS]),
      kind: z.enum(['generic', 'actions']).optional(),
      signIn: signIn.optional().describe('Public client with which people sign in at this issuer'),
    })
    .superRefine((entry, context) => {
      if (entry.signIn && (entry.kind ?? kindOf(entry.issuer)) === 'actions')
        report(context, 'GitHub Actions issues tokens to jobs, and people cannot sign in there: remove "signIn"', {
          path: ['signIn'],
        });
      if (entry.signIn?.subjectType !== undefined && entry.signIn.operatorClient === undefined)
        report(context, 'only applies with an "operatorClient": remove it', {
          path: ['signIn', 'subjectType'],
        });
      const { client, operatorClient } = entry.signIn ?? {};
      // Check whether the operators' client id is also used elsewhere. If it is, ID tokens from this issuer would be
      // interchangeable.
      const same = Object.entries({ client, audience: entry.audience }).find(([, id]) => id === operatorClient)?.[0];
      if (operatorClient !== undefined && same !== undefined)
        report(
          context,
          `must differ from "${same}", so that a workspace cannot use an operator's ID token: register a second client`,
          { path: ['signIn', 'operatorClient'] },
        );
    })
    .transform((entry) => ({ ...entry, kind: entry.kind ?? kindOf(entry.issuer) }));
}

function parseIssuerName(name: string): Parsed<string> {
  if (name === 'github')
    return malformedText('"github" always means Codespaces: choose a different name for this issuer');
  return parseLabelName(name, 'issuer name');
}

/**
 * Parses an issuer identifier (OpenID Connect Core section 2, `iss`). It is an https URL with an optional port and
 * path, but no query or fragment.
 */
function parseIssuer(input: string, options: SchemaOptions): Parsed<string> {
  const url = URL.canParse(input) ? new URL(input) : undefined;
  const secure =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && options.dangerouslyAllowPlainHttpIssuers === true);
  if (!url || !secure || url.username || url.password || /[?#*\s]/.test(input)) {
    return notValid(input, 'issuer: use its https URL exactly as in its tokens');
  }
  return { value: input };
}

/** Parses a client id (RFC 6749 appendix A.1). Spaces are rejected because the id is used in URLs and in `aud`. */
function parseClient(input: string): Parsed<string> {
  return /^[\x21-\x7e]+$/.test(input)
    ? { value: input }
    : notValid(input, 'client id: it contains characters other than printable ASCII');
}

/** Parses an OAuth scope (RFC 6749 section 3.3). */
function parseScope(input: string): Parsed<string> {
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(input) && input !== 'openid'
    ? { value: input }
    : notValid(input, 'scope: list one per entry, without openid, which is always requested');
}

/** Audiences that istiod and the broker accept. Workspaces must never get tokens for them. */
const OWN_AUDIENCES = new Set(['istio-ca', 'meshpass-broker']);

function parseAudience(input: string): Parsed<string> {
  if (/[\s*]/.test(input)) return notValid(input, 'audience: write it out, without spaces or *');
  return OWN_AUDIENCES.has(input) || input.startsWith('https://kubernetes.default')
    ? malformedText(
        `the audience ${input} belongs to the cluster, so Meshpass does not issue ID tokens for it: remove it`,
      )
    : { value: input };
}

function kindOf(issuerUrl: string): 'generic' | 'actions' {
  return issuerUrl === GITHUB_ACTIONS_ISSUER || issuerUrl.startsWith(`${GITHUB_ACTIONS_ISSUER}/`)
    ? 'actions'
    : 'generic';
}
