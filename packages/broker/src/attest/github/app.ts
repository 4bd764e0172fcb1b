/**
 * Sends the queries that require the organization's own GitHub App. These concern memberships, teams, roles and
 * members' Codespaces.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { SignJWT } from 'jose';
import { z } from 'zod';
import { createTtlCache, type IssuerRequest, type IssuerResponse } from '../../issuers/index.ts';
import {
  describeGithubError,
  encodePathSegment,
  type GithubApiOptions,
  type GithubUser,
  MAX_PAGE_BYTES,
  parseGithubResponse,
  requestGithub,
  requireSuccess,
} from './api.ts';
import type { Fact, Losses } from './losses.ts';
import { createMembershipQueries } from './memberships.ts';

/**
 * Options for the App's client. `onAnswer` is only called for requests that are sent as an installation, because those
 * share a rate limit.
 */
export interface GithubAppOptions extends GithubApiOptions {
  /** The App's ID or its client ID. */
  readonly appId: string;
  /** The private key in PEM format, either as downloaded from GitHub (PKCS #1) or converted to PKCS #8. */
  readonly privateKey: string;
  /** The record of losses, which invalidates cached answers about users. */
  readonly losses: Losses;
}

export type GithubApp = ReturnType<typeof createGithubApp>;

/** The lifetime of an App JWT. GitHub allows no more than ten minutes, and its clock may be behind ours. */
const APP_JWT_SECONDS = 540;
const CLOCK_DRIFT_SECONDS = 60;
const INSTALLATION_MS = 10 * 60_000;
/** How long before its expiry an installation token is replaced. Installation tokens are valid for one hour. */
const TOKEN_MARGIN_MS = 5 * 60_000;
/** How long a confirmed membership is cached, unless the broker learns that it was lost (losses.ts). */
const MEMBER_MS = 60_000;
const STRANGER_MS = 10_000;
const CAPACITY = 20_000;
/** The organization roles that an access file can refer to. */
const ROLES = ['admin', 'member'];

const Installation = z.object({ id: z.int().positive(), account: z.object({ id: z.int().positive() }) });
const InstallationToken = z.object({ token: z.string().min(1).max(4096), expires_at: z.iso.datetime() });
/**
 * The response to a list request. Only the first page is read, so if a member has more than a hundred Codespaces, the
 * oldest ones are not found.
 */
const CodespaceList = z.object({ codespaces: z.array(z.looseObject({ name: z.string() })).max(100) });
/**
 * Signs a JWT that authenticates the GitHub App (RFC 7519, RS256).
 * @param now the current time in Unix milliseconds
 */
export function signAppJwt(appId: string, key: KeyObject, now: number): Promise<string> {
  const seconds = Math.floor(now / 1000);
  return new SignJWT({ iss: appId, iat: seconds - CLOCK_DRIFT_SECONDS, exp: seconds + APP_JWT_SECONDS })
    .setProtectedHeader({ alg: 'RS256' })
    .sign(key);
}

/**
 * Creates the client for a GitHub App. All methods throw a MeshpassError (`issuer_unavailable` or
 * `issuer_rate_limited`) if GitHub cannot be queried.
 */
export function createGithubApp(options: GithubAppOptions) {
  const { onAnswer: _, ...asApp } = options;
  const { clock, losses } = options;
  const isVoid = (fact: Fact) => (lossCount: number) => losses.since(fact, lossCount);
  const key = createPrivateKey(options.privateKey);
  const installations = createTtlCache<z.infer<typeof Installation> | undefined>(
    (found) => (found ? INSTALLATION_MS : STRANGER_MS),
    100,
    clock,
  );
  const tokens = createTtlCache<z.infer<typeof InstallationToken>>(
    ({ expires_at }) => Date.parse(expires_at) - clock() - TOKEN_MARGIN_MS,
    100,
    clock,
  );
  /** Creates a cache for answers about users. A recorded loss invalidates the answers that it concerns. */
  const aboutPeople = <V>(lifeMs: (value: V) => number) => createTtlCache<V>(lifeMs, CAPACITY, clock, losses.now);
  /**
   * Caches only the answers about non-members, so that they cannot use up the App's rate limit. The Codespaces of
   * members are queried every time.
   */
  const codespaces = aboutPeople<readonly unknown[] | undefined>((list) => (list === undefined ? STRANGER_MS : 0));
  const memberships = aboutPeople<boolean | undefined>((member) => (member ? MEMBER_MS : STRANGER_MS));
  const organizationRoles = aboutPeople<string | undefined>((role) => (role === undefined ? STRANGER_MS : MEMBER_MS));

  let refused: string | undefined;
  /** Sends a request as the App itself rather than as one of its installations. */
  const requestAsApp = async (path: string, question?: IssuerRequest): Promise<IssuerResponse> => {
    const answer = await requestGithub(path, await signAppJwt(options.appId, key, clock()), asApp, question);
    refused =
      answer.status === 401 ? `GitHub rejected the ID or private key of GitHub App ${options.appId}` : undefined;
    // A misconfigured App is not an outage: retrying does not help, and the developer cannot fix the problem.
    if (refused !== undefined)
      throw new MeshpassError(
        'issuer_unavailable',
        "GitHub rejected the broker's GitHub App, so access was not granted. Ask your platform team to check the App's ID and private key.",
        { detail: { reason: refused, ...describeGithubError(answer) }, retryAfter: 60 },
      );
    return answer;
  };

  const installation = (organization: string) =>
    installations.get(organization.toLowerCase(), async () => {
      const part = encodePathSegment(organization);
      if (!part) return undefined;
      const answer = await requestAsApp(`/orgs/${part}/installation`);
      if (answer.status === 404) return undefined;
      return parseGithubResponse(Installation, requireSuccess(answer, forbidden('find the installation')));
    });

  const token = (id: number) =>
    tokens.get(String(id), async () => {
      const answer = await requestAsApp(`/app/installations/${id}/access_tokens`, { method: 'POST' });
      return parseGithubResponse(InstallationToken, requireSuccess(answer, forbidden('obtain an installation token')));
    });

  const requestAsInstallation = async (
    organization: string,
    path: string,
    question?: IssuerRequest,
  ): Promise<IssuerResponse | undefined> => {
    const found = await installation(organization);
    if (!found) return undefined;
    let answer = await requestGithub(path, (await token(found.id)).token, options, question);
    if (answer.status === 401) {
      // GitHub revoked the token before it expired, because the App was suspended, or was uninstalled and installed
      // again.
      tokens.forget(String(found.id));
      installations.forget(organization.toLowerCase());
      const again = await installation(organization);
      if (!again) return undefined;
      answer = await requestGithub(path, (await token(again.id)).token, options, question);
    }
    return answer.status === 404 ? undefined : requireSuccess(answer, forbidden('read members or their Codespaces'));
  };

  const organizationId = async (organization: string) => (await installation(organization))?.account.id;
  const queries = createMembershipQueries(requestAsInstallation, organizationId);
  const roleIn = (name: string, user: GithubUser) => {
    const organization = name.toLowerCase();
    const facts: Fact[] = [{ kind: 'member', organization, user }];
    for (const role of ROLES) facts.push({ kind: 'role', role: `${organization}/${role}`, user });
    return organizationRoles.get(
      `${organization} ${user.id} ${user.login}`,
      () => queries.roleIn(organization, user),
      (lossCount) => facts.some((fact) => losses.since(fact, lossCount)),
    );
  };

  return {
    losses,
    /**
     * Checks that GitHub accepts the App's ID and private key. This request ("Get the authenticated app") does not
     * count against an installation's rate limit.
     */
    signIn: async () => void requireSuccess(await requestAsApp('/app'), forbidden('sign in')),
    /**
     * Returns the reason why GitHub rejected the App itself in the last request, or undefined if that request was
     * accepted or none was sent.
     */
    refused: () => refused,
    /**
     * Sends a request as the App's installation in an organization. The watch needs the permissions "Organization
     * codespaces: read", "Codespaces: read" and "Members: read".
     * @param path the endpoint path. Untrusted parts must be encoded with encodePathSegment.
     * @returns the response, or undefined if the App is not installed or the resource does not exist (404)
     */
    request: requestAsInstallation,
    /** Returns an organization's ID, or undefined if the App is not installed in it. */
    organizationId,
    isMember: async (organization: string, user: GithubUser) => (await roleIn(organization, user)) !== undefined,
    /**
     * A cached version of `MembershipQueries.roleIn`. An answer is cached until it expires or the user loses the role.
     */
    roleIn,
    isInTeam: (team: string, user: GithubUser) =>
      // The key includes the user ID so that a new owner of the login does not get the previous owner's cached answer.
      memberships.get(
        `team ${team} ${user.id} ${user.login}`,
        () => queries.isInTeam(team, user),
        isVoid({ kind: 'team', team, user }),
      ),
    hasTeam: queries.hasTeam,
    /**
     * Finds a member's Codespace for one of the organization's repositories. This is needed if the Codespace's own
     * token is not allowed to read it.
     * @returns GitHub's description of the Codespace, which has not been validated, or undefined if the user has no
     *   Codespace with this name in the organization
     */
    async codespaceOf(organization: string, user: GithubUser, name: string) {
      const parts = [encodePathSegment(organization), encodePathSegment(user.login)];
      if (parts.includes(undefined)) return undefined;
      const askList = async () => {
        const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces?per_page=100`;
        const answer = await requestAsInstallation(organization, path, { maxBytes: MAX_PAGE_BYTES });
        return answer && parseGithubResponse(CodespaceList, answer).codespaces;
      };
      const list = await codespaces.get(
        `${organization.toLowerCase()} ${user.id} ${user.login}`,
        askList,
        isVoid({ kind: 'codespace', name, owner: user.login }),
      );
      return list?.find((codespace) => (codespace as { name?: unknown }).name === name);
    },
  };
}

function forbidden(what: string): string {
  return `the GitHub App is not allowed to ${what}`;
}
