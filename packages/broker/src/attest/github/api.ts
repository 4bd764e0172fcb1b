/** Sends requests to GitHub's REST API and classifies the errors it returns (https://docs.github.com/rest). */
import { MeshpassError } from '@meshpass/identity';
import type { z } from 'zod';
import { readPrivateFile } from '../../base/index.ts';
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
  /**
   * The base URL of the API without a trailing slash: `https://api.github.com`, or `https://HOST/api/v3` for GitHub
   * Enterprise Server.
   */
  readonly url: string;
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
  /** Called with every response, including errors, because the response headers contain the remaining rate limit. */
  readonly onAnswer?: (answer: IssuerResponse) => void;
}

/**
 * Sends a request to GitHub on behalf of an organization.
 * @param path the endpoint path. Untrusted parts must be encoded with encodePathSegment.
 * @returns a response with status 200 or 304, or undefined if the resource does not exist (404)
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export type ReadGithub = (
  organization: string,
  path: string,
  question?: IssuerRequest,
) => Promise<IssuerResponse | undefined>;

/** The maximum response size for one page of a list. A page contains up to 100 Codespaces of up to 10 kB each. */
export const MAX_PAGE_BYTES = 4 * 1024 * 1024;

const WHO = 'GitHub';
const VERSION = '2022-11-28';
/**
 * Matches rate limit errors, and the 403 error that follows too many wrong credentials ("Maximum number of login
 * attempts exceeded").
 */
const LIMITED = /rate limit|login attempts/i;
/** How many seconds to wait before retrying if GitHub does not specify a time. */
const RETRY_SECONDS = 60;

/**
 * Sends a request to GitHub's API, authenticated with the given token.
 * @param path the endpoint path. Untrusted parts must be encoded with encodePathSegment.
 * @returns a response with status 2xx, 304 (for conditional requests), 401, 403 or 404. Throws on any other status.
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
 * Creates a reader that uses a token, for organizations that have not installed an App. The token must be allowed to
 * read the organization's Codespaces and members.
 * @param file the path to a file that contains nothing but the token. The file is read for every request so that the
 *   token can be replaced.
 */
export function createTokenFileReader(file: string, options: GithubApiOptions): ReadGithub {
  return async (_organization, path, question) => {
    const token = readToken(file);
    const answer = await requestGithub(path, token, options, question);
    return answer.status === 404 ? undefined : requireSuccess(answer, 'the token is not allowed to read this');
  };
}

function readToken(file: string): string {
  try {
    return readPrivateFile(file).trim();
  } catch (cause) {
    throw issuerUnavailableError(WHO, 'cannot read the token file', { file }, cause);
  }
}

/**
 * Parses a response body according to a schema.
 * @throws MeshpassError `issuer_unavailable` if the body does not match the schema
 */
export function parseGithubResponse<T>(schema: z.ZodType<T>, answer: IssuerResponse): T {
  const read = schema.safeParse(answer.body);
  if (read.success) return read.data;
  const members = read.error.issues.map(({ path }) => path.join('.'));
  throw issuerUnavailableError(WHO, 'unexpected response', { members, requestId: githubRequestId(answer) });
}

/**
 * Encodes untrusted text for use as a single path segment.
 * @returns the encoded text, or undefined if it is not a valid segment (for example `.`, `..` or an empty string)
 */
export function encodePathSegment(text: string): string | undefined {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(text) ? encodeURIComponent(text) : undefined;
}

/** Matches a team that the access file identifies by ID, such as `ORG/#31`. Slugs never start with `#`. */
const BY_ID = /^([^/]+)\/#([1-9][0-9]*)$/;

/**
 * Returns the path of a team's endpoint in GitHub's API.
 * @param team the team as `ORG/SLUG` or `ORG/#ID`, in lower case
 * @param organizationId returns the ID of the team's organization. Only called for teams given as `ORG/#ID`.
 * @returns the path, or undefined if the slug is invalid or the organization is unknown
 */
export async function teamPath(
  team: string,
  organizationId: (organization: string) => Promise<number | undefined>,
): Promise<string | undefined> {
  const byId = BY_ID.exec(team);
  if (byId) {
    const id = await organizationId(byId[1]!);
    // GitHub also accepts a path with the IDs of the organization and the team
    // (https://docs.github.com/rest/teams/members, "You can also specify a team by org_id and team_id").
    return id === undefined ? undefined : `/organizations/${id}/team/${byId[2]}`;
  }
  const [organization = '', slug = ''] = team.split('/');
  const parts = [encodePathSegment(organization), encodePathSegment(slug)];
  return parts.includes(undefined) ? undefined : `/orgs/${parts[0]}/teams/${parts[1]}`;
}

/** Whether a team is identified by its ID (`ORG/#ID`) rather than its slug. */
export function isTeamById(team: string): boolean {
  return BY_ID.test(team);
}

/**
 * Throws unless a response is successful.
 * @param reason the likely reason for the error, for the log
 * @throws MeshpassError `issuer_unavailable` unless the status is 2xx or 304
 */
export function requireSuccess(answer: IssuerResponse, reason: string): IssuerResponse {
  if (answer.status < 300 || answer.status === 304) return answer;
  throw issuerUnavailableError(WHO, reason, describeGithubError(answer));
}

/**
 * Describes an error response for the log, including its status, its message (which may be empty) and GitHub's request
 * ID.
 */
export function describeGithubError(answer: IssuerResponse) {
  return { status: answer.status, message: messageOf(answer), requestId: githubRequestId(answer) };
}

/** Returns the error message in a response, truncated to 200 characters, or an empty string if there is none. */
function messageOf(answer: IssuerResponse): string {
  const message = (answer.body as { message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? message.slice(0, 200) : '';
}

/** Returns the ID that GitHub assigned to the request, for the log. */
export function githubRequestId(answer: IssuerResponse): string | undefined {
  return answer.headers.get('x-github-request-id')?.slice(0, 100);
}

/**
 * Throws if the response indicates that a rate limit was exceeded. When the primary limit is exceeded, GitHub responds
 * with 403 or 429 and sets a header that shows that no requests remain. When a secondary limit is exceeded, the
 * response has either a Retry-After header or just an error message.
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
