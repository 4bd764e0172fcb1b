/** State of the stand-in: plain data, every entry keyed by an id that never changes, like GitHub's. */
import { randomBytes, randomInt } from 'node:crypto';

/** The states of GitHub's published description, in its order. */
export const CODESPACE_STATES = [
  'Unknown',
  'Created',
  'Queued',
  'Provisioning',
  'Available',
  'Awaiting',
  'Unavailable',
  'Deleted',
  'Moved',
  'Shutdown',
  'Archived',
  'Starting',
  'ShuttingDown',
  'Failed',
  'Exporting',
  'Updating',
  'Rebuilding',
] as const;
export type CodespaceState = (typeof CODESPACE_STATES)[number];

export interface Account {
  readonly id: number;
  login: string;
  readonly type: 'User' | 'Organization';
  readonly email?: string;
}
export interface Repository {
  readonly id: number;
  name: string;
  readonly ownerId: number;
}
export interface Team {
  readonly id: number;
  readonly organizationId: number;
  slug: string;
  readonly members: Record<string, { role: 'member' | 'maintainer'; state: 'active' | 'pending' }>;
}
export interface Codespace {
  readonly id: number;
  readonly name: string;
  readonly environmentId: string;
  readonly ownerId: number;
  readonly billableOwnerId: number;
  readonly repositoryId: number;
  readonly ref: string;
  /** "Whether the codespace was created from a prebuild": may also be true for a person's own Codespace. */
  readonly prebuild: boolean;
  readonly createdAt: string;
  lastUsedAt: string;
  state: CodespaceState;
  /** Host of the lab that runs it and receives its forwarded ports. */
  readonly host: string;
}

/**
 * `codespace`: the GITHUB_TOKEN of a running Codespace. `user`: a person's own token with every scope that the stand-in
 * knows. `actions`: the GITHUB_TOKEN of a workflow, such as that of a prebuild; it belongs to no person. `installation`: a GitHub
 * App's.
 */
export interface Token {
  readonly kind: 'codespace' | 'user' | 'actions' | 'installation';
  readonly userId?: number;
  readonly codespaceId?: number;
  /**
   * A Codespace's own token is scoped to its repository, and cannot read the Codespace itself. A person's token without any
   * scope reaches no repository of an organisation, and no Codespace.
   */
  readonly repositoryOnly?: boolean;
  readonly withoutScope?: boolean;
  readonly installationId?: number;
  readonly permissions?: Record<string, string>;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}
export interface App {
  readonly id: number;
  readonly slug: string;
  readonly clientId: string;
  readonly ownerId: number;
  readonly permissions: Record<string, string>;
  readonly installations: { readonly id: number; readonly accountId: number; suspended?: boolean }[];
}

/** A job of GitHub Actions; its id is that of its check run. */
export interface Job {
  readonly id: number;
  readonly repositoryId: number;
  readonly runId: number;
  readonly runAttempt: number;
  readonly status: 'queued' | 'in_progress' | 'completed';
}

export interface State {
  accounts: Account[];
  repositories: Repository[];
  /** Keyed by organisation id, then user id. */
  members: Record<string, Record<string, 'admin' | 'member'>>;
  teams: Team[];
  codespaces: Codespace[];
  jobs: Job[];
  tokens: Record<string, Token>;
  app: App;
}

export const ACME = 9919001;
export const ALICE = 583231;
export const BOB = 583232;
export const CAROL = 583233;
export const MALLORY = 666013;

/** The small world that every lab begins with. */
export function seed(): State {
  return {
    accounts: [
      { id: ACME, login: 'acme', type: 'Organization' },
      { id: ALICE, login: 'alice', type: 'User', email: 'alice@acme.com' },
      { id: BOB, login: 'bob', type: 'User', email: 'bob@acme.com' },
      { id: CAROL, login: 'carol', type: 'User', email: 'carol@acme.com' },
      { id: MALLORY, login: 'mallory', type: 'User', email: 'mallory@evil.example' },
    ],
    repositories: [
      { id: 7001, name: 'payments-api', ownerId: ACME },
      { id: 7002, name: 'payments-web', ownerId: ACME },
      { id: 7003, name: 'orders', ownerId: ACME },
      { id: 6660, name: 'payments-api', ownerId: MALLORY },
      { id: 7101, name: 'dotfiles', ownerId: ALICE },
    ],
    members: { [ACME]: { [ALICE]: 'member', [BOB]: 'admin', [CAROL]: 'member' } },
    teams: [
      { id: 31, organizationId: ACME, slug: 'payments', members: { [ALICE]: { role: 'maintainer', state: 'active' } } },
      { id: 32, organizationId: ACME, slug: 'sre', members: { [BOB]: { role: 'member', state: 'active' } } },
    ],
    codespaces: [],
    jobs: [],
    tokens: {},
    app: {
      id: 4242,
      slug: 'meshpass-broker',
      clientId: 'Iv23liLabMeshpass0000',
      ownerId: ACME,
      permissions: {
        metadata: 'read',
        actions: 'read',
        members: 'read',
        codespaces: 'read',
        organization_codespaces: 'read',
      },
      installations: [{ id: 515151, accountId: ACME }],
    },
  };
}

export function accountById(state: State, id: number): Account {
  const account = state.accounts.find((candidate) => candidate.id === id);
  if (!account) throw new Error(`no account ${id}`);
  return account;
}

/** Logins are compared as GitHub compares them: without case. */
export function accountByLogin(state: State, login: string, type?: Account['type']): Account | undefined {
  const wanted = login.toLowerCase();
  return state.accounts.find((account) => account.login.toLowerCase() === wanted && (!type || account.type === type));
}

export function repositoryByFullName(state: State, fullName: string): Repository | undefined {
  const [owner = '', name = ''] = fullName.toLowerCase().split('/');
  const account = accountByLogin(state, owner);
  return state.repositories.find((repo) => repo.ownerId === account?.id && repo.name.toLowerCase() === name);
}

/** An id above all that are in use, as far apart as GitHub's own are. */
export function newId(): number {
  return 1_000_000_000 + randomInt(1_000_000_000);
}

const PREFIX = { codespace: 'ghu_', user: 'ghp_', actions: 'ghs_', installation: 'ghs_' } as const;
/** Other tokens of a person: of an OAuth app, fine-grained, of another GitHub App that they authorised. */
export const USER_PREFIXES = ['ghp_', 'gho_', 'github_pat_', 'ghu_', 'ghr_'] as const;
export type UserPrefix = (typeof USER_PREFIXES)[number];
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Issues a token in GitHub's form: a prefix that names its kind and 36 letters. */
export function issueToken(state: State, token: Token, prefix: string = PREFIX[token.kind]): string {
  let text = prefix;
  for (const byte of randomBytes(36)) text += LETTERS[byte % LETTERS.length];
  state.tokens[text] = token;
  return text;
}
