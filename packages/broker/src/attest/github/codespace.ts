/**
 * Attests a Codespace by its GITHUB_TOKEN and its name. GitHub identifies the owner of both, and the presence check
 * proves that the client runs in that Codespace. The token is discarded afterwards, and only its SHA-256 hash is kept.
 */
import type { Trust } from '@meshpass/access';
import { type Attestation, MeshpassError, type Proof, sha256Hex } from '@meshpass/identity';
import { z } from 'zod';
import { createGuessLimiter } from '../../base/index.ts';
import type { AttestationResult, IssuerResponse } from '../../issuers/index.ts';
import type { PresenceCheck, Presenter } from '../presence/presence.ts';
import {
  describeGithubError,
  encodePathSegment,
  type GithubApiOptions,
  githubRequestId,
  parseGithubResponse,
  requestGithub,
} from './api.ts';
import type { GithubApp } from './app.ts';
import { confirmMemberships, type MembershipQuery, type Memberships } from './memberships.ts';

export interface CodespaceOptions {
  readonly api: GithubApiOptions;
  /** The organization's GitHub App. Without it, teams and roles cannot be confirmed. */
  readonly app?: GithubApp;
  readonly presence: PresenceCheck;
}

export type CodespaceProof = Extract<Proof, { type: 'github-codespace' }>;

const id = z.int().positive();
const Account = z.object({ id, login: z.string().min(1).max(100) });
const User = Account;
const Codespace = z.object({
  id,
  name: z.string().min(1).max(100),
  owner: Account,
  billable_owner: Account,
  repository: z.object({ id, full_name: z.string().min(3).max(250), owner: Account }),
  state: z.string().max(50),
  prebuild: z.boolean().nullish(),
  git_status: z.object({ ref: z.string().max(500).nullish() }).nullish(),
});
type Codespace = z.infer<typeof Codespace>;
const Repository = z.object({ id });

/** Matches `OWNER/NAME`, where neither part is `.` or `..`. The repository name may start with a dot (`.github`). */
const REPOSITORY = /^[A-Za-z0-9_-][A-Za-z0-9._-]*\/(?!\.{1,2}$)[A-Za-z0-9._-]+$/;

/**
 * Matches anything that could be a GitHub token. Tokens are currently 40 characters long, but newer formats have a few
 * hundred characters.
 */
const TOKEN = /^[\x21-\x7e]{1,2048}$/;

const REFUSED_BEFORE: IssuerResponse = {
  status: 401,
  headers: new Headers(),
  body: { message: 'GitHub recently rejected this token.' },
};

/**
 * Creates a limiter for invalid tokens. After too many failed logins from an address, GitHub blocks all of that
 * address's requests, even those with valid credentials ("Authenticating to the REST API", failed login limit).
 * @param clock returns the current time in Unix milliseconds
 */
export function createCodespaceTokenLimiter(clock: () => number) {
  return createGuessLimiter<IssuerResponse>({
    verdict: ({ status }) => (status === 401 ? 'refused' : status < 300 ? 'accepted' : 'other'),
    perSource: { burst: 20, perSecond: 0.2 },
    all: { burst: 100, perSecond: 1 },
    refusedMs: 60_000,
    clock,
  });
}

/**
 * Attests a Codespace by its token and name, and checks that the client is present in it.
 * @param trust the `trust` section of the current access file
 * @param query the teams and roles that the access file refers to
 * @throws MeshpassError `proof_malformed`, `proof_token_kind`, `proof_rejected`, `proof_prebuild`, `workspace_*`,
 *   `presence_*`, `too_many_attempts`, `issuer_unavailable`, `issuer_rate_limited`, `overloaded`
 */
export async function attestCodespace(
  proof: CodespaceProof,
  presenter: Presenter,
  trust: Trust,
  query: MembershipQuery,
  options: CodespaceOptions & { readonly guesses: ReturnType<typeof createCodespaceTokenLimiter> },
): Promise<AttestationResult> {
  if (!trust.codespaces) {
    throw new MeshpassError(
      'workspace_not_trusted',
      'Codespaces are not accepted, because the access file does not trust them.',
    );
  }
  const name = encodePathSegment(proof.codespaceName);
  if (!TOKEN.test(proof.token) || !name) {
    throw new MeshpassError('proof_malformed', "GITHUB_TOKEN or CODESPACE_NAME is not in GitHub's format.");
  }
  refuseOtherKinds(proof.token);
  const { guesses } = options;
  // Send this request first so that an invalid token only costs one request.
  const userAnswer =
    (await guesses.verify(proof.token, presenter.source, () => requestGithub('/user', proof.token, options.api))) ??
    REFUSED_BEFORE;
  refuseStranger(userAnswer);
  const codespaceAnswer = await requestGithub(`/user/codespaces/${name}`, proof.token, options.api);
  const user = parseGithubResponse(User, userAnswer);
  const { organization } = trust.codespaces;
  const codespace = await findCodespace(codespaceAnswer, proof, user, organization, options.app);

  if (codespace.name !== proof.codespaceName || codespace.owner.id !== user.id) {
    throw new MeshpassError('workspace_not_owned', 'This Codespace belongs to a different user. Use one of your own.', {
      detail: { user: user.id, owner: codespace.owner.id, codespace: codespace.id },
    });
  }
  if (codespace.state !== 'Available') {
    throw new MeshpassError(
      'workspace_not_available',
      `GitHub reports that this Codespace is ${codespace.state}. Start it and try again.`,
      {
        detail: { codespace: codespace.id, state: codespace.state },
      },
    );
  }
  // If the agent is already listening on a port, run the presence check in parallel with the requests to GitHub.
  const givingUp = new AbortController();
  const show = () => options.presence.show({ codespace, token: proof.token, presenter }, givingUp.signal);
  const early = presenter.presence && 'exchange' in presenter.presence ? show() : undefined;
  early?.catch(() => {});
  try {
    await refuseForeign(codespace, user, organization, options.app);
    await refuseOtherRepositories(codespace, proof.token, options.api);
  } catch (thrown) {
    givingUp.abort();
    throw thrown;
  }
  // Wait for the presence check before querying memberships. Otherwise, a client outside the Codespace could learn
  // about the developer's teams or use up the App's rate limit.
  const known = whatIsKnown(proof, user, codespace);
  presenter.identified?.(known);
  const presence = await (early ?? show());
  const memberships = await confirmMemberships(user, query, options.app);
  guesses.trust(presenter.source);
  return { attestation: { ...known, ...memberships }, presence };
}

/**
 * Rejects a token that does not belong to a user. If GitHub responds to `GET /user` with 403, the token belongs to a
 * workflow or an installation, as is the case in a prebuild.
 */
function refuseStranger(answer: IssuerResponse): void {
  if (answer.status < 300) return;
  const detail = describeGithubError(answer);
  if (answer.status === 403 && /not accessible by integration/i.test(detail.message)) {
    throw prebuild(detail);
  }
  throw new MeshpassError(
    'proof_rejected',
    'GitHub rejected this GITHUB_TOKEN. Restart the Codespace to get a new token.',
    { detail },
  );
}

/**
 * Returns GitHub's description of the Codespace. It is read with the Codespace's own token, or with the organization's
 * App if that token is limited to its repository (403 or 404). In either case, the token only proves who its owner is,
 * and the Codespace's name is visible in the URL of every forwarded port. The presence check therefore has to prove
 * that the client runs in the Codespace.
 */
async function findCodespace(
  answer: IssuerResponse,
  proof: CodespaceProof,
  user: z.infer<typeof User>,
  organization: string,
  app: GithubApp | undefined,
): Promise<Codespace> {
  if (answer.status < 300) return parseGithubResponse(Codespace, answer);
  const found = await app?.codespaceOf(organization, user, proof.codespaceName);
  if (found !== undefined) return parseGithubResponse(Codespace, { ...answer, body: found });
  const detail = describeGithubError(answer);
  if (answer.status === 404 || app) {
    throw new MeshpassError(
      'workspace_unknown',
      `GitHub cannot find your Codespace ${proof.codespaceName}. Check CODESPACE_NAME.`,
      { detail },
    );
  }
  throw new MeshpassError(
    'proof_rejected',
    "GitHub does not allow this token to read its Codespace. Check that GITHUB_TOKEN is the Codespace's own token. " +
      'Alternatively, configure a GitHub App for the organization in the broker.',
    { detail },
  );
}

/**
 * Rejects a Codespace that does not belong to the organization. A Codespace belongs to the organization that pays for
 * it, provided that its developer is a member. If the developer pays, the Codespace must be for one of the
 * organization's repositories. The developer must be a member in this case too, because anyone can open a Codespace on
 * a public repository at their own cost.
 */
async function refuseForeign(
  codespace: Codespace,
  user: z.infer<typeof User>,
  organization: string,
  app: GithubApp | undefined,
): Promise<void> {
  // If an App is installed, compare IDs, because anyone can register a login after an organization has given it up.
  const organizationId = await app?.organizationId(organization);
  const isTrusted = (account: z.infer<typeof Account>) =>
    organizationId === undefined
      ? account.login.toLowerCase() === organization.toLowerCase()
      : account.id === organizationId;
  const isPaid = isTrusted(codespace.billable_owner);
  // GitHub may keep a former member's Codespaces running for a while at the organization's cost. Without an App, the
  // broker cannot check memberships and can only reject users who are known to have left.
  const hasLeft = app?.losses.isLost({ kind: 'member', organization: organization.toLowerCase(), user }) ?? false;
  if (isPaid && organizationId === undefined && !hasLeft) return;
  if ((isPaid || isTrusted(codespace.repository.owner)) && app && (await app.isMember(organization, user))) return;
  throw new MeshpassError(
    'workspace_not_trusted',
    `This Codespace does not belong to ${organization}. As a member of ${organization}, open one of its repositories in a Codespace.`,
    {
      detail: {
        codespace: codespace.id,
        billableOwner: codespace.billable_owner.id,
        repositoryOwner: codespace.repository.owner.id,
      },
    },
  );
}

/**
 * Rejects a token that cannot read the Codespace's repository. The repository is looked up by the name that GitHub has
 * just returned, and its ID must match. For public repositories, this proves nothing, because any token can read them.
 */
async function refuseOtherRepositories({ repository }: Codespace, token: string, api: GithubApiOptions): Promise<void> {
  const path = REPOSITORY.test(repository.full_name) ? `/repos/${repository.full_name}` : undefined;
  const answer = path === undefined ? undefined : await requestGithub(path, token, api);
  if (answer && answer.status < 300 && parseGithubResponse(Repository, answer).id === repository.id) return;
  throw new MeshpassError(
    'workspace_repository_unreachable',
    `This GITHUB_TOKEN cannot access ${repository.full_name}, this Codespace's repository. ` +
      "Use the Codespace's own token.",
    { detail: { repository: repository.id, status: answer?.status, requestId: answer && githubRequestId(answer) } },
  );
}

/** Builds the part of the attestation that is known before any memberships are queried. */
function whatIsKnown(
  proof: CodespaceProof,
  user: z.infer<typeof User>,
  codespace: Codespace,
): Omit<Attestation, keyof Memberships> {
  const { repository } = codespace;
  const ref = codespace.git_status?.ref;
  return {
    attestor: 'github-codespace',
    issuer: 'github',
    subject: `github:${user.id}`,
    login: user.login,
    githubUser: { id: user.id, login: user.login },
    claims: {
      user_id: user.id,
      login: user.login,
      codespace_id: codespace.id,
      codespace_name: codespace.name,
      // This means that the Codespace was created from a prebuild, not that it is one itself.
      created_from_prebuild: codespace.prebuild ?? false,
      repository: repository.full_name,
      repository_id: repository.id,
      repository_owner: repository.owner.login,
      repository_owner_id: repository.owner.id,
      billable_owner: codespace.billable_owner.login,
      billable_owner_id: codespace.billable_owner.id,
      ...(ref ? { ref } : {}),
    },
    workspace: {
      kind: 'codespace',
      key: `codespace:${codespace.id}`,
      name: codespace.name,
      repository: { id: repository.id, fullName: repository.full_name, ownerId: repository.owner.id },
      ...(ref ? { ref } : {}),
    },
    proofHash: sha256Hex(proof.token),
  };
}

// The kind of a GitHub token is determined from its prefix before any request is sent to GitHub.

/**
 * The prefix of the GITHUB_TOKEN in a Codespace. Every kind of GitHub token has its own prefix (GitHub, "About
 * authentication to GitHub").
 */
const CODESPACE = 'ghu_';
const OTHERS: readonly (readonly [prefix: string, what: string])[] = [
  ['github_pat_', 'a fine-grained personal access token'],
  ['ghp_', 'a personal access token'],
  ['gho_', 'an OAuth app token'],
  ['ghr_', 'a refresh token'],
];
/**
 * The prefix of workflow and installation tokens, which do not belong to a user. Prebuilds have a token of this kind.
 */
const INSTALLATION = 'ghs_';

/**
 * Rejects kinds of tokens that a Codespace never has, such as a personal access token that was leaked somewhere else.
 * The prefix proves nothing about the token's permissions.
 * @throws MeshpassError `proof_token_kind`, `proof_prebuild`
 */
function refuseOtherKinds(token: string): void {
  if (token.startsWith(CODESPACE)) return;
  if (token.startsWith(INSTALLATION)) throw prebuild();
  const what = OTHERS.find(([prefix]) => token.startsWith(prefix))?.[1] ?? 'an unknown type of token';
  throw new MeshpassError(
    'proof_token_kind',
    `GITHUB_TOKEN is ${what}, not the Codespace's own token, which starts with ${CODESPACE}. ` +
      'If one of your secrets overrides it, rename that secret.',
  );
}

function prebuild(detail: Readonly<Record<string, unknown>> = {}): MeshpassError {
  return new MeshpassError(
    'proof_prebuild',
    'GITHUB_TOKEN is a workflow token, as in a prebuild, whose disk is cloned for many developers. ' +
      'Start meshpass from postStartCommand, which runs in every Codespace but never in a prebuild.',
    { detail },
  );
}
