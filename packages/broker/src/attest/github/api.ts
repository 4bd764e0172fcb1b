/** Sends requests to GitHub's REST API and classifies its errors (https://docs.github.com/rest). */
import { MeshpassError } from '@meshpass/identity';
import type { z } from 'zod';
import {
  type IssuerHttpOptions,
  type IssuerRequest,
  type IssuerResponse,
  issuerUnavailableError,
  requestIssuer,
} from '../../issuers/index.ts';

export interface GithubUser {
  readonly id: number;
  readonly login: string;
}

export interface GithubApiOptions extends IssuerHttpOptions {
  /** `https://api.github.com`, or `https://HOST/api/v3` for GitHub Enterprise Server, without a trailing slash. */
  readonly url: string;
  /** Unix milliseconds. */
  readonly clock: () => number;
  /** Called with every response, including errors, because the headers contain the remaining rate limit. */
  readonly onAnswer?: (answer: IssuerResponse) => void;
}

/**
 * Sends a request to GitHub.
 * @param path endpoint path. Untrusted parts must be encoded with encodePathSegment.
 * @returns a response with status 200 or 304; undefined if the resource does not exist (404)
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export type ReadGithub = (
  organization: string,
  path: string,
  question?: IssuerRequest,
) => Promise<IssuerResponse | undefined>;

/** Maximum size of a page. GitHub lists up to 100 Codespaces per page, each up to 10 kB. */
export const MAX_PAGE_BYTES = 4 * 1024 * 1024;

const WHO = 'GitHub';
const VERSION = '2022-11-28';
/** Matches rate limit errors and the 403 after many wrong credentials ("Maximum number of login attempts exceeded"). */
const LIMITED = /rate limit|login attempts/i;
/** How long to wait if GitHub does not specify a time. */
const RETRY_SECONDS = 60;

/**
 * Sends a request to GitHub's API.
 * @param path endpoint path. Untrusted parts must be encoded with encodePathSegment.
 * @returns a response with status 2xx, 304 (to a conditional request), 401, 403 or 404. Any other status throws.
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
  if (!expected)
    throw issuerUnavailableError(WHO, 'unexpected status', {
      status: answer.status,
      requestId: githubRequestId(answer),
    });
  return answer;
}

/**
 * Parses a response body.
 * @throws MeshpassError `issuer_unavailable` if the body does not match the schema
 */
export function parseGithubResponse<T>(schema: z.ZodType<T>, answer: IssuerResponse): T {
  const read = schema.safeParse(answer.body);
  if (read.success) return read.data;
  const members = read.error.issues.map(({ path }) => path.join('.'));
  throw issuerUnavailableError(WHO, 'unexpected response', { members, requestId: githubRequestId(answer) });
}

/**
 * Encodes untrusted text as a single path segment.
 * @returns undefined if the text is not a valid single segment (for example `.`, `..` or an empty string)
 */
export function encodePathSegment(text: string): string | undefined {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(text) ? encodeURIComponent(text) : undefined;
}

/** Matches a team that an access file identifies by id: `ORG/#31`. A slug never begins with `#`. */
const BY_ID = /^([^/]+)\/#([1-9][0-9]*)$/;

/**
 * Returns the path of a team in GitHub's API.
 * @param team `ORG/SLUG` or `ORG/#ID`, lower case
 * @param organizationId returns the id of the team's organization. Called only for `ORG/#ID`.
 * @returns undefined if the slug is invalid or the organization is unknown
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
  const parts = [encodePathSegment(organization), encodePathSegment(slug)];
  return parts.includes(undefined) ? undefined : `/orgs/${parts[0]}/teams/${parts[1]}`;
}

/** Whether a team is identified by id (`ORG/#ID`). */
export function isTeamById(team: string): boolean {
  return BY_ID.test(team);
}

/**
 * Throws if a response is an error.
 * @param reason likely reason for the error, for the log
 * @throws MeshpassError `issuer_unavailable` unless the status is 2xx or 304
 */
export function requireSuccess(answer: IssuerResponse, reason: string): IssuerResponse {
  if (answer.status < 300 || answer.status === 304) return answer;
  throw issuerUnavailableError(WHO, reason, describeGithubError(answer));
}

/** Describes an error response for logs: its status, its message (empty if it has none) and GitHub's request id. */
export function describeGithubError(answer: IssuerResponse) {
  return { status: answer.status, message: messageOf(answer), requestId: githubRequestId(answer) };
}

/** Returns the error message of a response, truncated to 200 characters, or an empty string if it has none. */
function messageOf(answer: IssuerResponse): string {
  const message = (answer.body as { message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? message.slice(0, 200) : '';
}

/** Returns GitHub's request id, for logs. */
export function githubRequestId(answer: IssuerResponse): string | undefined {
  return answer.headers.get('x-github-request-id')?.slice(0, 100);
}

/**
 * Throws if the response indicates a rate limit. For the primary limit, GitHub responds with 403 or 429, and a header
 * shows that no requests remain. For a secondary limit, the response has a Retry-After header or only an error message.
 */
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
    "GitHub's rate limit has been reached, so access was not granted. Try again later.",
    {
      retryAfter: Math.min(3600, Math.ceil(wait)),
      detail: { status: answer.status, requestId: githubRequestId(answer) },
    },
  );
}
