/** The form of an entry of `who`, `deny` and `except`. */
import { z } from 'zod';
import { claimValues } from './claims.ts';
import { type DurationBounds, parseDuration } from './duration.ts';
import { parseExpression } from './expression.ts';
import {
  parseEnvironment,
  parseLogin,
  parseOrganizationRole,
  parseRef,
  parseRepository,
  parseTeam,
} from './pattern.ts';
import { checked, LOGIN, read, text, words } from './text.ts';

const githubId = z
  .int('expected a whole number: the id that GitHub gives')
  .min(1, 'ids begin at 1')
  .meta({ examples: [583231] });

const members = {
  user: read(parseLogin, {
    description: 'GitHub login. Logins can be renamed and taken by others: user_id is better.',
    pattern: `^${LOGIN}$`,
  }),
  user_id: githubId.describe('GitHub id of a user: `gh api users/LOGIN --jq .id`. It stays when the login changes.'),
  team: read(parseTeam, { description: 'ORGANIZATION/TEAM-SLUG', pattern: `^${LOGIN}/[A-Za-z0-9._-]+$` }),
  team_id: githubId.describe(
    'GitHub id of the team, beside "team": `gh api orgs/ORGANIZATION/teams/SLUG --jq .id`. It stays when the team is renamed.',
  ),
  role: read(parseOrganizationRole, {
    description: 'ORGANIZATION/admin or ORGANIZATION/member',
    pattern: `^${LOGIN}/([aA][dD][mM][iI][nN]|[mM][eE][mM][bB][eE][rR])$`,
  }),
  repository: read(parseRepository, {
    description: 'OWNER/NAME, with * for any characters in NAME',
    pattern: `^${LOGIN}/[A-Za-z0-9._*-]+$`,
  }),
  repository_id: githubId.describe('GitHub id of a repository: `gh api repos/OWNER/NAME --jq .id`.'),
  ref: read(parseRef, {
    description: 'Full ref, with * for any characters but / and ** at the end for everything below',
    pattern: '^refs/(heads|tags|pull)/.+$',
    examples: ['refs/heads/main', 'refs/tags/v*'],
  }),
  environment: checked(parseEnvironment, {
    description: 'Deployment environment of a job of GitHub Actions',
    pattern: '^[^*]+$',
  }),
  issuer: text.describe('A name of trust.issuers, or github for Codespaces'),
  claims: claimValues,
  when: expression('CEL over claims, issuer, subject, login, teams, workspace'),
};

const MAX_AGE: DurationBounds = { least: '1m', most: '12h' };

const signedIn = z
  .strictObject({
    issuer: text.describe('A name of trust.issuers that has signIn'),
    claims: claimValues.optional(),
    when: expression('CEL over claims, issuer, subject and login of the sign-in, and teams and workspace').optional(),
    maxAge: read((input) => parseDuration(input, MAX_AGE), {
      description: 'Longest time since the person was authenticated (auth_time), 1m to 12h',
      pattern: '^[1-9][0-9]{0,5}[smh]$',
    }).optional(),
    amr: z
      .array(z.string().regex(/^[A-Za-z0-9_.:-]{1,64}$/, 'is no method of authentication (RFC 8176)'))
      .min(1, 'must not be empty')
      .max(10, 'more than 10 methods')
      .optional()
      .describe('Methods of authentication (RFC 8176) of which the sign-in must have all'),
  })
  .describe('A sign-in at this issuer, beside everything else of the entry');

const shape = z.strictObject(members).partial();

function expression(description: string) {
  return z
    .string()
    .max(8192)
    .superRefine((input, context) => {
      const result = parseExpression(input);
      if ('message' in result)
        context.addIssue({ code: 'custom', message: result.message, params: { code: result.code } });
    })
    .describe(description);
}

function refuseEmpty(entry: Readonly<Record<string, unknown>>, context: z.RefinementCtx): void {
  if (Object.entries(entry).some(([name, member]) => name !== 'reason' && member !== undefined)) return;
  context.addIssue({
    code: 'custom',
    message: `an empty entry would be everybody: say ${Object.keys(members).join(', ')}`,
    params: { code: 'access_file_who_empty' },
  });
}

/** The team says the organization. */
const TEAM_ID = { team_id: ['team'] };

export const who = shape
  .extend({ signedIn: signedIn.optional() })
  .superRefine(refuseEmpty)
  .meta({ minProperties: 1, dependentRequired: TEAM_ID });

export const denial = shape
  .extend({ reason: words.describe('For the audit log').optional() })
  .superRefine(refuseEmpty)
  .meta({
    dependentRequired: TEAM_ID,
    not: { anyOf: ['user', 'role', 'repository'].map((name) => ({ required: [name] })) },
    anyOf: ['user_id', 'team_id', 'repository_id', 'issuer'].map((name) => ({ required: [name] })),
  });

export type WhoEntry = z.output<typeof denial> & Pick<z.output<typeof who>, 'signedIn'>;

/** Alternatives: at least one. */
export const whoList = z
  .array(who)
  .max(200, 'more than 200 entries')
  .superRefine((entries, context) => {
    if (entries.length > 0) return;
    context.addIssue({
      code: 'custom',
      message: 'nobody is named: "who" needs an entry',
      params: { code: 'access_file_who_empty' },
    });
  })
  .meta({ minItems: 1 });

export const denialList = z.array(denial).max(500, 'more than 500 entries');
