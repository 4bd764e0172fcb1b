/** One call of GitHub's REST API, and what its refusals mean (https://docs.github.com/rest). */
import { MeshpassError } from '@meshpass/identity';
import type { z } from 'zod';
import {
  type IssuerHttpOptions,
  type IssuerRequest,
  type IssuerResponse,
  requestIssuer,
  unavailable,
} from '../issuer-http.ts';

export interface GithubUser {
  readonly id: number;
  readonly login: string;
}

export interface GithubApiOptions extends IssuerHttpOptions {
  /** `https://api.github.com`, or `https://HOST/api/v3` of an enterprise server; no slash at its end. */
  readonly url: string;
  /** Unix milliseconds. */
  readonly clock: () => number;
  /** Told of every answer, refusals included: their headers say what is left of the budget. */
  readonly onAnswer?: (answer: IssuerResponse) => void;
}

/** A Codespace takes up to 10 kB in GitHub's lists, and a page has a hundred. */
export const MAX_PAGE_BYTES = 4 * 1024 * 1024;

const WHO = 'GitHub';
const VERSION = '2022-11-28';
/** The second after many wrong credentials (403, "Maximum number of login attempts exceeded"). */
const LIMITED = /rate limit|login attempts/i;
/** Where GitHub names no time. */
const RETRY_SECONDS = 60;

/**
 * @param path of the endpoint; each part that is not ours is already passed through pathPart
 * @returns 2xx, 304 (to a conditional question), 401, 403 and 404 answers; every other is thrown
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function requestGithub(
  path: string,
  token: string,
  options: GithubApiOptions,
  question: IssuerRequest = {},
): Promise<IssuerResponse> {
  const answer = await requestIssuer(
    new URL(options.url + path),
    {
      ...question,
      headers: {
        accept: 'application/vnd.github+json',
        'x-github-api-version': VERSION,
        authorization: `Bearer ${token}`,
        ...question.headers,
      },
    },
    WHO,
    options,
  );
  options.onAnswer?.(answer);
  refuseWhenLimited(answer, options.clock());
  const expected = answer.status < 300 || [304, 401, 403, 404].includes(answer.status);
  if (!expected) throw unavailable(WHO, 'unexpected status', { status: answer.status, requestId: requestId(answer) });
  return answer;
}

/** @throws MeshpassError `issuer_unavailable` where the answer is not what GitHub's description says */
export function parseGithub<T>(schema: z.ZodType<T>, answer: IssuerResponse): T {
  const read = schema.safeParse(answer.body);
  if (read.success) return read.data;
  const members = read.error.issues.map(({ path }) => path.join('.'));
  throw unavailable(WHO, 'unexpected answer', { members, requestId: requestId(answer) });
}

/**
 * A part of a path, from somebody else.
 * @returns undefined where it could be more than one part, or none (`.`, `..`, empty)
 */
export function pathPart(text: string): string | undefined {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(text) ? encodeURIComponent(text) : undefined;
}

/** As an access file names it by id: `ORG/#31`. No slug begins so. */
const BY_ID = /^([^/]+)\/#([1-9][0-9]*)$/;

/**
 * @param team `ORG/SLUG` or `ORG/#ID`, lower case
 * @param organizationId of the team's organization, asked for only where the team is named by id
 * @returns the team's path in GitHub's API; undefined where it is none, or the organization is not known
 */
export async function teamPath(
  team: string,
  organizationId: (organization: string) => Promise<number | undefined>,
): Promise<string | undefined> {
  const byId = BY_ID.exec(team);
  if (byId) {
    const id = await organizationId(byId[1]!);
    // https://docs.github.com/rest/teams/members, "You can also specify a team by org_id and team_id"
    return id === undefined ? undefined : `/organizations/${id}/team/${byId[2]}`;
  }
  const [organization = '', slug = ''] = team.split('/');
  const parts = [pathPart(organization), pathPart(slug)];
  return parts.includes(undefined) ? undefined : `/orgs/${parts[0]}/teams/${parts[1]}`;
}

export function isTeamById(team: string): boolean {
  return BY_ID.test(team);
}

export function messageOf(answer: IssuerResponse): string {
  const message = (answer.body as { message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? message.slice(0, 200) : '';
}

export function requestId(answer: IssuerResponse): string | undefined {
  return answer.headers.get('x-github-request-id')?.slice(0, 100);
}

/** Primary limit: 403 or 429 with nothing remaining; secondary: with Retry-After, or only said in the message. */
function refuseWhenLimited(answer: IssuerResponse, now: number): void {
  if (answer.status !== 403 && answer.status !== 429) return;
  const retryAfter = Number(answer.headers.get('retry-after') ?? Number.NaN);
  const reset = Number(answer.headers.get('x-ratelimit-reset') ?? Number.NaN) - now / 1000;
  const spent = answer.headers.get('x-ratelimit-remaining') === '0';
  const limited = answer.status === 429 || spent || retryAfter > 0 || LIMITED.test(messageOf(answer));
  if (!limited) return;
  const wait = retryAfter > 0 ? retryAfter : spent && reset > 0 ? reset : RETRY_SECONDS;
  throw new MeshpassError(
    'issuer_rate_limited',
    "GitHub's rate limit is reached, so nothing is granted; try again later.",
    { retryAfter: Math.min(3600, Math.ceil(wait)), detail: { status: answer.status, requestId: requestId(answer) } },
  );
}
