/** The schema for entries in `who`, `deny` and `except`. */
import { z } from 'zod';
import type { SignedIn } from '../model.ts';
import { claimValues } from './claims.ts';
import { duration } from './duration.ts';
import { parseExpression } from './expression.ts';
import {
  parseEnvironment,
  parseLogin,
  parseOrganizationRole,
  parseRef,
  parseRepository,
  parseTeam,
} from './pattern.ts';
import { displayText, LOGIN_PATTERN, omitUndefined, read, refineWithParser, report, text } from './text.ts';

const githubId = z
  .int('expected a whole number, the GitHub id')
  .min(1, 'must be at least 1')
  .meta({ examples: [583231] });

const members = {
  user: read(parseLogin, {
    description: 'GitHub login. Logins can be renamed and reused by others: prefer user_id.',
    pattern: `^${LOGIN_PATTERN}$`,
  }),
  user_id: githubId.describe('GitHub id of a user: `gh api users/LOGIN --jq .id`. It stays when the login changes.'),
  team: read(parseTeam, { description: 'ORGANIZATION/TEAM-SLUG', pattern: `^${LOGIN_PATTERN}/[A-Za-z0-9._-]+$` }),
  team_id: githubId.describe(
    'GitHub id of the team, beside "team": `gh api orgs/ORGANIZATION/teams/SLUG --jq .id`. It stays when the team is renamed.',
  ),
  role: read(parseOrganizationRole, {
    description: 'ORGANIZATION/admin or ORGANIZATION/member',
    pattern: `^${LOGIN_PATTERN}/([aA][dD][mM][iI][nN]|[mM][eE][mM][bB][eE][rR])$`,
  }),
  repository: read(parseRepository, {
    description: 'OWNER/NAME, with * for any characters in NAME',
    pattern: `^${LOGIN_PATTERN}/[A-Za-z0-9._*-]+$`,
  }),
  repository_id: githubId.describe('GitHub id of a repository: `gh api repos/OWNER/NAME --jq .id`.'),
  ref: read(parseRef, {
    description: 'Full ref, with * for any characters but / and ** at the end for everything below',
    pattern: '^refs/(heads|tags|pull)/.+$',
    examples: ['refs/heads/main', 'refs/tags/v*'],
  }),
  environment: read(parseEnvironment, {
    description: 'Deployment environment of a job of GitHub Actions',
    pattern: '^[^*]+$',
  }),
  issuer: text.describe('A name of trust.issuers, or github for Codespaces'),
  claims: claimValues,
  when: expression('CEL over claims, issuer, subject, login, teams, workspace'),
};

const signedIn = z
  .strictObject({
    issuer: text.describe('A name of trust.issuers that has signIn'),
    claims: claimValues.optional(),
    when: expression('CEL over claims, issuer and subject of the sign-in, and teams and workspace').optional(),
    maxAge: duration('Longest time since the person was authenticated (auth_time)', '1m', '12h').optional(),
    amr: z
      .array(z.string().regex(/^[A-Za-z0-9_.:-]{1,64}$/, 'is not a valid authentication method reference (RFC 8176)'))
      .min(1, 'must not be empty')
      .max(10, 'more than 10 methods')
      .optional()
      .describe('Authentication methods (RFC 8176), all of which the sign-in must have used'),
  })
  .transform((entry): SignedIn => omitUndefined(entry))
  .describe('A sign-in at this issuer, required in addition to the rest of the entry');

const shape = z.strictObject(members).partial();

/** Renames the keys of GitHub ids from their spelling in the file to their names in the model. */
function toModel<T extends Partial<Record<`${'user' | 'team' | 'repository'}_id`, number | undefined>>>(entry: T) {
  const { user_id: userId, team_id: teamId, repository_id: repositoryId, ...rest } = entry;
  return omitUndefined({ ...rest, userId, teamId, repositoryId });
}

function expression(description: string) {
  return z.string().max(8192).superRefine(refineWithParser(parseExpression)).describe(description);
}

function refuseEmpty(entry: Readonly<Record<string, unknown>>, context: z.RefinementCtx): void {
  if (Object.entries(entry).some(([name, member]) => name !== 'reason' && member !== undefined)) return;
  report(context, `an empty entry would match everyone: set ${Object.keys(members).join(', ')}`, {
    code: 'access_file_who_empty',
  });
}

/** `team_id` is only valid together with `team`, which contains the organization. */
const TEAM_ID = { team_id: ['team'] };

export const who = shape
  .extend({ signedIn: signedIn.optional() })
  .superRefine(refuseEmpty)
  .transform(toModel)
  .meta({ minProperties: 1, dependentRequired: TEAM_ID });

export const denial = shape
  .extend({ reason: displayText.describe('For the audit log').optional() })
  .superRefine(refuseEmpty)
  .transform(toModel)
  .meta({
    dependentRequired: TEAM_ID,
    not: { anyOf: ['user', 'role', 'repository'].map((name) => ({ required: [name] })) },
    anyOf: ['user_id', 'team_id', 'repository_id', 'issuer'].map((name) => ({ required: [name] })),
  });

/** A list of alternatives, which must not be empty. */
export const whoList = z
  .array(who)
  .max(200, 'more than 200 entries')
  .superRefine((entries, context) => {
    if (entries.length > 0) return;
    report(context, '"who" is empty: add an entry', { code: 'access_file_who_empty' });
  })
  .meta({ minItems: 1 });

export const denialList = z.array(denial).max(500, 'more than 500 entries');
