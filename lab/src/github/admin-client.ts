/** Typed client of the Lab-only admin API, which tests and the quickstart use to change the state of the stand-in. */
import { type AdminOptions, adminCall } from '../stand-in/admin-call.ts';
import type { Fault } from './fault.ts';
import type { ForwardingFault } from './forwarding.ts';
import type { Account, App, Codespace, CodespaceState, Job, Team, UserPrefix } from './state.ts';

export interface NewUser {
  readonly login: string;
  readonly id?: number;
  /** Login of an organisation. */
  readonly memberOf?: string;
}

export interface NewCodespace {
  /** Login of its developer. */
  readonly owner: string;
  /** `OWNER/NAME`. */
  readonly repository: string;
  readonly name?: string;
  readonly state?: CodespaceState;
  readonly ref?: string;
  /** Login of the billable owner. Default: the repository's owner. */
  readonly billableOwner?: string;
  readonly createdFromPrebuild?: boolean;
  /** Whether its token may read Codespaces. Default, as documented by GitHub: the token allows the repository and `GET /user`. */
  readonly tokenReadsCodespaces?: boolean;
  /** Host of the lab on which it runs. Default: `workspace`. */
  readonly host?: string;
}

/** A started Codespace with its environment: CODESPACE_NAME (`name`) and GITHUB_TOKEN (`token`). */
export type StartedCodespace = Codespace & { readonly token: string };

export type GithubAdmin = ReturnType<typeof githubAdmin>;

/** @param url of the stand-in, e.g. `https://api.github.test` */
export function githubAdmin(url: string, options: AdminOptions = {}) {
  const call = adminCall(url, options);
  const at = (path: string) => `/_lab_only_admin${path}`;
  const part = encodeURIComponent;
  return {
    app: () => call<App>('GET', at('/app')),
    createUser: (user: NewUser) => call<Account>('POST', at('/users'), user),
    /** The login changes, the id stays. */
    renameUser: (from: string, login: string) => call<Account>('PATCH', at(`/users/${part(from)}`), { login }),
    removeFromOrganization: (org: string, login: string) =>
      call<void>('DELETE', at(`/orgs/${part(org)}/members/${part(login)}`)),
    setOrganizationRole: (org: string, login: string, role: 'admin' | 'member') =>
      call<void>('PUT', at(`/orgs/${part(org)}/members/${part(login)}`), { role }),
    setAppPermissions: (permissions: Record<string, string>) => call<void>('PUT', at('/app/permissions'), permissions),
    /** Installs the App if it is not installed. */
    suspendInstallation: (org: string, suspended: boolean) =>
      call<void>('PUT', at(`/orgs/${part(org)}/installation`), { suspended }),
    addToTeam: (team: string, login: string, state: 'active' | 'pending' = 'active') =>
      call<void>('PUT', at(`/teams/${team}/members/${part(login)}`), { state }),
    /** The slug changes, the id stays. */
    renameTeam: (team: string, slug: string) => call<void>('PATCH', at(`/teams/${team}`), { slug }),
    createTeam: (team: string) => call<Team>('POST', at(`/teams/${team}`)),
    removeFromTeam: (team: string, login: string) => call<void>('DELETE', at(`/teams/${team}/members/${part(login)}`)),
    /** New state. */
    setJob: (job: Job) => call<void>('PUT', at('/jobs'), job),
    createCodespace: (codespace: NewCodespace) => call<StartedCodespace>('POST', at('/codespaces'), codespace),
    createCodespaces: (codespaces: readonly NewCodespace[]) =>
      call<StartedCodespace[]>('POST', at('/codespaces/several'), codespaces),
    setCodespaceState: (name: string, state: CodespaceState) =>
      call<Codespace>('PATCH', at(`/codespaces/${part(name)}`), { state }),
    startCodespace: (name: string) => call<StartedCodespace>('POST', at(`/codespaces/${part(name)}/start`)),
    /** A person's own token, with every scope. */
    createUserToken: async (login: string, lifetimeMs?: number) =>
      (await call<{ token: string }>('POST', at('/tokens'), { kind: 'user', login, lifetimeMs })).token,
    /** A person's own token of another kind, with no scope but what `GET /user` needs, or with all. */
    createUserTokenOf: async (login: string, prefix: UserPrefix, withoutScope = true) =>
      (await call<{ token: string }>('POST', at('/tokens'), { kind: 'user', login, prefix, withoutScope })).token,
    /** The GITHUB_TOKEN of a workflow run, the token of a prebuild, which belongs to no person. */
    createActionsToken: async () => (await call<{ token: string }>('POST', at('/tokens'), { kind: 'actions' })).token,
    revokeToken: (token: string) => call<void>('POST', at('/tokens/revoke'), { token }),
    setFault: (fault: Fault) => call<void>('PUT', at('/fault'), fault),
    setForwardingFault: (fault: ForwardingFault) => call<void>('PUT', at('/forwarding-fault'), { fault }),
    /** `METHOD HOST/path` of each request for a forwarded port since the last forgetCalls. */
    forwarded: () => call<string[]>('GET', at('/forwarded')),
    /** `METHOD /path` of each call of the API since the last forgetCalls. */
    calls: () => call<string[]>('GET', at('/calls')),
    /** Calls in its hour of each person (`user:ID`), installation (`installation:ID`) and App. Unchanged answers are free. */
    spent: () => call<Record<string, number>>('GET', at('/spent')),
    /** Resets all budgets as if an hour had passed. */
    renewBudgets: () => call<void>('DELETE', at('/spent')),
    forgetCalls: () => call<void>('DELETE', at('/calls')),
    reset: () => call<void>('POST', at('/reset')),
  };
}
