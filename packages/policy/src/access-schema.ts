/** The form of the access file. What one entry means beside another is checked in check-references.ts. */
import { grantNamespace, isDnsLabel } from '@meshpass/identity';
import { z } from 'zod';
import { type DurationBounds, parseDuration } from './duration.ts';
import { parseExpression } from './expression.ts';
import { parseLogin, parseOperation, parseRepository, parseRole, parseService, parseTeam } from './pattern.ts';
import { invalid, type Parsed } from './problem.ts';

const TTL: DurationBounds = { least: '2m', most: '1h' };
const SESSION: DurationBounds = { least: '10s', most: '12h' };
const DEFAULT_TTL_SECONDS = 600;
const DEFAULT_SESSION_SECONDS = 8 * 3600;

/** Signatures that a verifier can check without knowing a secret (RFC 7518 section 3.1, RFC 8037). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
const DEFAULT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
export const GITHUB_ACTIONS_ISSUER = 'https://token.actions.githubusercontent.com';

/** Only the lab has identity providers without TLS. */
export interface SchemaOptions {
  readonly dangerouslyAllowPlainHttpIssuers?: boolean;
}

const text = z.string().min(1, 'must not be empty').max(512, 'is longer than 512 characters');

/** Text that one of our own readers understands; its refusal keeps its code. */
function read<T>(reader: (input: string) => Parsed<T>) {
  return text.transform((input, context): T => {
    const result = reader(input);
    if ('value' in result) return result.value;
    context.addIssue({ code: 'custom', message: result.message, params: { code: result.code } });
    return z.NEVER;
  });
}

/** Keeps the text itself of what a reader accepts. */
function checked(reader: (input: string) => Parsed<unknown>) {
  return read((input) => {
    const result = reader(input);
    return 'value' in result ? { value: input } : result;
  });
}

const who = z
  .strictObject({
    user: read(parseLogin).optional(),
    team: read(parseTeam).optional(),
    repository: read(parseRepository).optional(),
    issuer: text.optional(),
    when: z
      .string()
      .max(8192)
      .superRefine((input, context) => {
        const result = parseExpression(input);
        if ('message' in result)
          context.addIssue({ code: 'custom', message: result.message, params: { code: result.code } });
      })
      .optional(),
  })
  .superRefine((entry, context) => {
    if (Object.values(entry).every((member) => member === undefined)) {
      context.addIssue({
        code: 'custom',
        message: 'an empty entry would be everybody: say user, team, repository, issuer or when',
        params: { code: 'access_file_who_empty' },
      });
    }
  });

const target = z.strictObject({
  service: read(parseService),
  port: z.int().min(1, 'ports are 1 to 65535').max(65535, 'ports are 1 to 65535'),
  allow: z
    .array(read(parseOperation))
    .min(1, 'nothing is allowed: leave "allow" out to grant the whole port')
    .max(200, 'more than 200 operations')
    .optional(),
});

const grant = z.strictObject({
  who: z
    .array(who)
    .max(200, 'more than 200 entries')
    .superRefine((entries, context) => {
      if (entries.length === 0) {
        context.addIssue({
          code: 'custom',
          message: 'nobody is named: "who" needs an entry',
          params: { code: 'access_file_who_empty' },
        });
      }
    }),
  to: z.array(target).min(1, 'nothing is granted: "to" needs an entry').max(200, 'more than 200 services'),
  kubernetes: z
    .strictObject({ roles: z.array(read(parseRole)).min(1, 'must not be empty').max(50, 'more than 50 roles') })
    .optional(),
  ttl: read((input) => parseDuration(input, TTL)).default(DEFAULT_TTL_SECONDS),
  session: read((input) => parseDuration(input, SESSION)).default(DEFAULT_SESSION_SECONDS),
});

function issuer(options: SchemaOptions) {
  return z
    .strictObject({
      issuer: checked((input) => parseIssuer(input, options)),
      audience: text,
      algorithms: z.array(checked(parseAlgorithm)).min(1, 'must not be empty').default(DEFAULT_ALGORITHMS),
      kind: z.enum(['generic', 'actions']).optional(),
    })
    .transform((entry) => ({ ...entry, kind: entry.kind ?? kindOf(entry.issuer) }));
}

/**
 * The schema of a whole file.
 * @returns zod schema whose output is ready to become `Access`
 */
export function accessSchema(options: SchemaOptions = {}) {
  return z.strictObject({
    trust: z.strictObject({
      codespaces: z.strictObject({ organization: read(parseLogin) }).optional(),
      issuers: named(issuer(options), parseIssuerName).default({}),
      audiences: z.array(checked(parseAudience)).max(50, 'more than 50 audiences').default([]),
    }),
    grants: named(grant, parseGrantName),
  });
}
export type AccessDocument = z.output<ReturnType<typeof accessSchema>>;

/** A map whose keys are names; a bad name is reported at the key. */
function named<T extends z.ZodType>(value: T, name: (input: string) => Parsed<unknown>) {
  return z.record(z.string(), value).superRefine((entries, context) => {
    for (const key of Object.keys(entries)) {
      const result = name(key);
      if ('message' in result)
        context.addIssue({
          code: 'custom',
          path: [key],
          message: result.message,
          params: { code: result.code, at: 'key' },
        });
    }
    if (Object.keys(entries).length > 500) context.addIssue({ code: 'custom', message: 'more than 500 entries' });
  });
}

function parseGrantName(name: string): Parsed<string> {
  if (!isDnsLabel(name) || !isDnsLabel(grantNamespace(name))) {
    return invalid(`"${name}" is no name of a grant: lower-case letters, digits and inner hyphens, at most 54`);
  }
  // Helm releases live in such a namespace; a grant must not take it over.
  if (name === 'system') return invalid('a grant cannot be called "system": its namespace would be Meshpass\' own');
  return { value: name };
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
