/** What only an organisation's own GitHub App may ask: is this person a member, and of which of these teams? */
import { createPrivateKey } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { SignJWT } from 'jose';
import { z } from 'zod';
import { type IssuerRequest, type IssuerResponse, unavailable } from '../issuer-http.ts';
import { createTtlCache } from '../ttl-cache.ts';
import {
  type GithubApiOptions,
  type GithubUser,
  MAX_PAGE_BYTES,
  messageOf,
  parseGithub,
  pathPart,
  requestGithub,
  requestId,
  teamPath,
} from './api.ts';
import type { Fact, Losses } from './losses.ts';

export interface GithubAppOptions extends Omit<GithubApiOptions, 'onAnswer'> {
  /** App id or client id. */
  readonly appId: string;
  /** PEM as GitHub gives it (PKCS #1), or PKCS #8. */
  readonly privateKey: string;
  /** Told of every answer to an installation, whose budget all of its questions share. */
  readonly onInstallationAnswer?: (answer: IssuerResponse) => void;
  /** What is remembered of a person is held against this. */
  readonly losses: Losses;
}

export interface GithubApp {
  readonly losses: Losses;
  /** Whether GitHub takes the App's id and key; it costs nothing of an installation's budget (GitHub, "Get the authenticated app"). */
  readonly signIn: () => Promise<void>;
  /** Why GitHub refuses the App itself, as it last said; undefined where it does not, or was not asked yet. */
  readonly refused: () => string | undefined;
  /**
   * Asks as the installation in the organisation.
   * @param path each part that is not ours passed through pathPart
   * @returns undefined where it is not installed, or what is asked for is not there (404)
   */
  request(organization: string, path: string, question?: IssuerRequest): Promise<IssuerResponse | undefined>;
  /** Id of an organisation in which the App is installed; undefined where it is not. */
  organizationId(organization: string): Promise<number | undefined>;
  isMember(organization: string, user: GithubUser): Promise<boolean>;
  /**
   * @param roles `ORG/admin` and `ORG/member`, lower case
   * @returns those that GitHub says the user has now; an admin is a member too
   */
  rolesOf(user: GithubUser, roles: readonly string[]): Promise<readonly string[]>;
  /**
   * A member's Codespace on a repository of the organisation, where the Codespace's own token may not read it.
   * @returns GitHub's description of it, unread; undefined where the user has none of this name there
   */
  codespaceOf(organization: string, user: GithubUser, name: string): Promise<unknown>;
  /**
   * @param teams `ORG/SLUG` or `ORG/#ID`, lower case
   * @returns those in which GitHub says that the user is an active member now
   */
  teamsOf(user: GithubUser, teams: readonly string[]): Promise<readonly string[]>;
  /** @returns those that are there, and in which GitHub says that the user is not */
  teamsWithout(user: GithubUser, teams: readonly string[]): Promise<readonly string[]>;
}

/** GitHub takes at most ten minutes, and its clock may be behind ours. */
const APP_JWT_SECONDS = 540;
const CLOCK_DRIFT_SECONDS = 60;
const INSTALLATION_MS = 10 * 60_000;
/** An installation token lives an hour; this much of its life is left unused. */
const TOKEN_MARGIN_MS = 5 * 60_000;
/** Who left a team keeps it so long at most where nobody says so (losses.ts), who entered waits so long at most. */
const MEMBER_MS = 60_000;
const STRANGER_MS = 10_000;
const CAPACITY = 20_000;
/** That an access file can name. */
const ROLES = ['admin', 'member'];

const Installation = z.object({ id: z.int().positive(), account: z.object({ id: z.int().positive() }) });
const InstallationToken = z.object({ token: z.string().min(1).max(4096), expires_at: z.iso.datetime() });
const TeamMembership = z.object({ state: z.string() });
/** One page: of a member with more than a hundred Codespaces the oldest are not found. */
const CodespaceList = z.object({ codespaces: z.array(z.looseObject({ name: z.string() })).max(100) });
const OrganizationMembership = z.object({
  state: z.string(),
  role: z.string().max(50),
  user: z.object({ id: z.int() }),
});

/** All of it throws MeshpassError `issuer_unavailable` or `issuer_rate_limited` while GitHub does not say. */
export function createGithubApp(options: GithubAppOptions): GithubApp {
  const { clock, losses } = options;
  const isVoid = (fact: Fact) => (asked: number) => losses.since(fact, asked);
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
  /** Strangers are remembered, so that they cannot spend the App's budget; what a member has is always asked. */
  const codespaces = createTtlCache<readonly unknown[] | undefined>(
    (list) => (list === undefined ? STRANGER_MS : 0),
    CAPACITY,
    clock,
    losses.now,
  );
  const memberships = createTtlCache<boolean>(
    (member) => (member ? MEMBER_MS : STRANGER_MS),
    CAPACITY,
    clock,
    losses.now,
  );
  const organizationRoles = createTtlCache<string | undefined>(
    (role) => (role === undefined ? STRANGER_MS : MEMBER_MS),
    CAPACITY,
    clock,
    losses.now,
  );

  const appJwt = () => {
    const now = Math.floor(clock() / 1000);
    return new SignJWT({ iss: options.appId, iat: now - CLOCK_DRIFT_SECONDS, exp: now + APP_JWT_SECONDS })
      .setProtectedHeader({ alg: 'RS256' })
      .sign(key);
  };

  let refused: string | undefined;
  /** Asks as the App itself, not as an installation of it. */
  const requestAsApp = async (path: string, question?: IssuerRequest): Promise<IssuerResponse> => {
    const answer = await requestGithub(path, await appJwt(), options, question);
    refused =
      answer.status === 401 ? `GitHub refuses the id or the private key of the GitHub App ${options.appId}` : undefined;
    if (refused !== undefined) throw appRefused(refused, answer);
    return answer;
  };

  const installation = (organization: string) =>
    installations.get(organization.toLowerCase(), async () => {
      const part = pathPart(organization);
      if (!part) return undefined;
      const answer = await requestAsApp(`/orgs/${part}/installation`);
      if (answer.status === 404) return undefined;
      return parseGithub(Installation, refuseUnlessOk(answer, 'find the installation'));
    });

  const token = (id: number) =>
    tokens.get(String(id), async () => {
      const answer = await requestAsApp(`/app/installations/${id}/access_tokens`, { method: 'POST' });
      return parseGithub(InstallationToken, refuseUnlessOk(answer, 'obtain an installation token'));
    });

  /** Asks as the installation in the organisation; undefined where there is none, or what is asked for is not there. */
  const asInstallation: GithubApiOptions = {
    ...options,
    ...(options.onInstallationAnswer && { onAnswer: options.onInstallationAnswer }),
  };
  const requestAsInstallation: GithubApp['request'] = async (organization, path, question) => {
    const found = await installation(organization);
    if (!found) return undefined;
    let answer = await requestGithub(path, (await token(found.id)).token, asInstallation, question);
    if (answer.status === 401) {
      // Revoked before its time: uninstalled and installed again, or suspended.
      tokens.forget(String(found.id));
      installations.forget(organization.toLowerCase());
      const again = await installation(organization);
      if (!again) return undefined;
      answer = await requestGithub(path, (await token(again.id)).token, asInstallation, question);
    }
    return answer.status === 404 ? undefined : refuseUnlessOk(answer, 'read members or their Codespaces');
  };

  const organizationId = async (organization: string) => (await installation(organization))?.account.id;
  const askWhetherInTeam = async (team: string, user: GithubUser) => {
    const [path, login] = [await teamPath(team, organizationId), pathPart(user.login)];
    if (path === undefined || login === undefined) return false;
    const answer = await requestAsInstallation(team.split('/')[0]!, `${path}/memberships/${login}`);
    return answer !== undefined && parseGithub(TeamMembership, answer).state === 'active';
  };
  const isInTeam = (team: string, user: GithubUser) =>
    // By id: a login that changes hands must not inherit an answer.
    memberships.get(
      `team ${team} ${user.id} ${user.login}`,
      () => askWhetherInTeam(team, user),
      isVoid({ kind: 'team', team, user }),
    );

  /** `admin`, `member`, or what else GitHub has; undefined for who is no active member. */
  const askRole = async (organization: string, user: GithubUser) => {
    const parts = [pathPart(organization), pathPart(user.login)];
    if (parts.includes(undefined)) return undefined;
    const answer = await requestAsInstallation(organization, `/orgs/${parts[0]}/memberships/${parts[1]}`);
    if (!answer) return undefined;
    const membership = parseGithub(OrganizationMembership, answer);
    return membership.state === 'active' && membership.user.id === user.id ? membership.role : undefined;
  };
  const roleIn = (name: string, user: GithubUser) => {
    const organization = name.toLowerCase();
    const facts: Fact[] = [{ kind: 'member', organization, user }];
    for (const role of ROLES) facts.push({ kind: 'role', role: `${organization}/${role}`, user });
    return organizationRoles.get(
      `${organization} ${user.id} ${user.login}`,
      () => askRole(organization, user),
      (asked) => facts.some((fact) => losses.since(fact, asked)),
    );
  };

  return {
    losses,
    signIn: async () => void refuseUnlessOk(await requestAsApp('/app'), 'sign in'),
    refused: () => refused,
    request: requestAsInstallation,
    organizationId,
    isMember: async (organization, user) => (await roleIn(organization, user)) !== undefined,
    async rolesOf(user, roles) {
      const found = await Promise.all(roles.map((role) => roleIn(role.split('/')[0]!, user)));
      return roles.filter((role, index) => {
        const wanted = role.split('/')[1];
        // Billing managers are no members (GitHub, "Roles in an organization").
        return found[index] === wanted || (wanted === 'member' && found[index] === 'admin');
      });
    },
    async codespaceOf(organization, user, name) {
      const parts = [pathPart(organization), pathPart(user.login)];
      if (parts.includes(undefined)) return undefined;
      const askList = async () => {
        const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces?per_page=100`;
        const answer = await requestAsInstallation(organization, path, { maxBytes: MAX_PAGE_BYTES });
        return answer && parseGithub(CodespaceList, answer).codespaces;
      };
      const list = await codespaces.get(
        `${organization.toLowerCase()} ${user.id} ${user.login}`,
        askList,
        isVoid({ kind: 'codespace', name, owner: user.login }),
      );
      return list?.find((codespace) => (codespace as { name?: unknown }).name === name);
    },
    async teamsOf(user, teams) {
      const answers = await Promise.all(teams.map((team) => isInTeam(team, user)));
      return teams.filter((_team, index) => answers[index]);
    },
    async teamsWithout(user, teams) {
      const answers = await Promise.all(
        teams.map(async (team) => {
          if (await isInTeam(team, user)) return false;
          const path = await teamPath(team, organizationId);
          return path !== undefined && (await requestAsInstallation(team.split('/')[0]!, path)) !== undefined;
        }),
      );
      return teams.filter((_team, index) => answers[index]);
    },
  };
}

/** Not that GitHub is away: trying again does not help, and the developer cannot mend it. */
function appRefused(reason: string, answer: IssuerResponse): MeshpassError {
  return new MeshpassError(
    'issuer_unavailable',
    "GitHub refuses the GitHub App of this broker, so nothing is granted: tell your platform team to look at the App's id and private key.",
    { detail: { reason, message: messageOf(answer), requestId: requestId(answer) }, retryAfter: 60 },
  );
}

function refuseUnlessOk(answer: IssuerResponse, what: string): IssuerResponse {
  if (answer.status < 300 || answer.status === 304) return answer;
  throw unavailable('GitHub', `the GitHub App may not ${what}`, {
    status: answer.status,
    message: messageOf(answer),
    requestId: requestId(answer),
  });
}
