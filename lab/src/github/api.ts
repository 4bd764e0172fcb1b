import { type Context, Hono } from 'hono';
import { type ApiEnv, type ApiOptions, base } from './api-options.ts';
import { addAppRoutes } from './app-routes.ts';
import { workflowJob } from './app-shape.ts';
import type { Caller } from './caller.ts';
import { notForIntegrations, notFound, refusal, requiresAuthentication } from './refusal.ts';
import * as shape from './shape.ts';
import { type Account, accountByLogin, type Codespace, type Repository, repositoryByFullName } from './state.ts';

export function createApi(options: ApiOptions): Hono<ApiEnv> {
  const { state } = options;
  const api = new Hono<ApiEnv>();

  api.get('/user', (c) => {
    const page = '/users/users#get-the-authenticated-user';
    return c.json(shape.publicUser(person(c, page), base(c)));
  });

  api.get('/user/codespaces', (c) => {
    const owner = codespaceReader(c, '/codespaces/codespaces');
    return codespacePage(c, (space) => space.ownerId === owner.id);
  });

  api.get('/user/codespaces/:name', (c) => {
    const page = '/codespaces/codespaces#get-a-codespace-for-the-authenticated-user';
    const owner = codespaceReader(c, page);
    const space = state().codespaces.find(({ name, ownerId }) => name === c.req.param('name') && ownerId === owner.id);
    // GitHub gives the same answer for another person's Codespace and for an unknown one.
    if (!space || space.state === 'Deleted') throw notFound(page);
    return c.json(shape.codespace(space, state(), base(c)));
  });

  api.get('/user/:id{[0-9]+}', (c) => {
    if (c.get('caller').kind === 'nobody') throw requiresAuthentication();
    const user = state().accounts.find(({ id }) => String(id) === c.req.param('id'));
    if (!user) throw notFound('/users/users#get-a-user-using-their-id');
    return c.json(shape.publicUser(user, base(c)));
  });

  api.get('/user/teams', (c) => {
    const page = '/teams/teams#list-teams-for-the-authenticated-user';
    const user = person(c, page);
    if (c.get('caller').kind === 'codespace') throw notForIntegrations(page);
    const teams = state().teams.filter((team) => team.members[user.id]?.state === 'active');
    return c.json(teams.map((team) => shape.teamFull(team, state(), base(c))));
  });

  api.get('/repos/:owner/:repo', (c) => {
    const page = '/repos/repos#get-a-repository';
    const repository = repositoryByFullName(state(), `${c.req.param('owner')}/${c.req.param('repo')}`);
    // Hidden and missing objects return the same answer; every repository here is private.
    if (!repository || !reaches(c.get('caller'), repository)) throw notFound(page);
    return c.json(shape.fullRepository(repository, state(), base(c)));
  });

  api.get('/orgs/:org/teams/:slug/memberships/:username', (c) => {
    const page = '/teams/members#get-team-membership-for-a-user';
    const org = mayReadMembers(c, page);
    const team = state().teams.find(
      ({ organizationId, slug }) => organizationId === org.id && slug === c.req.param('slug'),
    );
    const user = accountByLogin(state(), c.req.param('username'), 'User');
    const membership = user && team?.members[user.id];
    if (!membership) throw notFound(page);
    const url = `${base(c).api}/organizations/${org.id}/team/${team.id}/memberships/${user.login}`;
    return c.json({ url, role: membership.role, state: membership.state });
  });

  api.get('/orgs/:org/teams/:slug/members', (c) => {
    const page = '/teams/members#list-team-members';
    const org = mayReadMembers(c, page);
    const team = state().teams.find(
      ({ organizationId, slug }) => organizationId === org.id && slug === c.req.param('slug'),
    );
    if (!team) throw notFound(page);
    return memberPage(c, (account) => team.members[account.id]?.state === 'active');
  });

  api.get('/orgs/:org/teams/:slug', (c) => {
    const page = '/teams/teams#get-a-team-by-name';
    const org = mayReadMembers(c, page);
    const team = state().teams.find((one) => one.organizationId === org.id && one.slug === c.req.param('slug'));
    if (!team) throw notFound(page);
    return c.json(shape.teamFull(team, state(), base(c)));
  });

  // "You can also specify a team by org_id and team_id" (https://docs.github.com/rest/teams/members).
  api.get('/organizations/:orgId{[0-9]+}/team/:teamId{[0-9]+}', (c) => {
    const { team } = teamById(c, '/teams/teams#get-a-team-by-name');
    return c.json(shape.teamFull(team, state(), base(c)));
  });

  api.get('/organizations/:orgId{[0-9]+}/team/:teamId{[0-9]+}/members', (c) => {
    const { team } = teamById(c, '/teams/members#list-team-members');
    return memberPage(c, (account) => team.members[account.id]?.state === 'active');
  });

  api.get('/organizations/:orgId{[0-9]+}/team/:teamId{[0-9]+}/memberships/:username', (c) => {
    const page = '/teams/members#get-team-membership-for-a-user';
    const { org, team } = teamById(c, page);
    const user = accountByLogin(state(), c.req.param('username'), 'User');
    const membership = user && team.members[user.id];
    if (!membership) throw notFound(page);
    const url = `${base(c).api}/organizations/${org.id}/team/${team.id}/memberships/${user.login}`;
    return c.json({ url, role: membership.role, state: membership.state });
  });

  api.get('/orgs/:org', (c) =>
    c.json(shape.organizationSimple(organization(c, '/orgs/orgs#get-an-organization'), base(c))),
  );

  api.get('/orgs/:org/members', (c) => {
    const org = mayReadMembers(c, '/orgs/members#list-organization-members');
    return memberPage(c, (account) => state().members[org.id]?.[account.id] !== undefined);
  });

  api.get('/orgs/:org/memberships/:username', (c) => {
    const page = '/orgs/members#get-organization-membership-for-a-user';
    const org = mayReadMembers(c, page);
    const user = accountByLogin(state(), c.req.param('username'), 'User');
    const role = user && state().members[org.id]?.[user.id];
    if (!role) throw notFound(page);
    return c.json({
      url: `${base(c).api}/orgs/${org.login}/memberships/${user.login}`,
      state: 'active',
      role,
      organization_url: `${base(c).api}/orgs/${org.login}`,
      organization: shape.organizationSimple(org, base(c)),
      user: shape.simpleUser(user, base(c)),
    });
  });

  api.get('/orgs/:org/codespaces', (c) => {
    const org = mayReadCodespaces(c, '/codespaces/organizations#list-codespaces-for-the-organization');
    return codespacePage(c, (space) => isOf(space, org) || space.billableOwnerId === org.id);
  });

  api.get('/orgs/:org/members/:username/codespaces', (c) => {
    const page = '/codespaces/organizations#list-codespaces-for-a-user-in-organization';
    const org = mayReadCodespaces(c, page);
    const user = accountByLogin(state(), c.req.param('username'), 'User');
    if (!user || !state().members[org.id]?.[user.id]) throw notFound(page);
    return codespacePage(c, (space) => space.ownerId === user.id && isOf(space, org));
  });

  // Where GitHub redirects to from the path with a repository's name.
  api.get('/repositories/:repository{[0-9]+}/actions/jobs/:job{[0-9]+}', (c) => {
    const page = '/actions/workflow-jobs#get-a-job-for-a-workflow-run';
    const found = jobsOf(c, page).find(({ id }) => String(id) === c.req.param('job'));
    if (!found) throw notFound(page);
    return c.json(workflowJob(found, state(), base(c)));
  });

  api.get('/repositories/:repository{[0-9]+}/actions/runs/:run{[0-9]+}/attempts/:attempt{[0-9]+}', (c) => {
    const page = '/actions/workflow-runs#get-a-workflow-run-attempt';
    const own = jobsOf(c, page).filter(
      ({ runId, runAttempt }) => String(runId) === c.req.param('run') && String(runAttempt) === c.req.param('attempt'),
    );
    if (own.length === 0) throw notFound(page);
    const status = own.every((one) => one.status === 'completed') ? 'completed' : 'in_progress';
    return c.json({ id: own[0]!.runId, run_attempt: own[0]!.runAttempt, status, conclusion: null });
  });

  addAppRoutes(api, options);

  api.get('/rate_limit', (c) => {
    const { limit, used, remaining, reset } = c.get('budget');
    const rate = { limit, used, remaining, reset };
    return c.json({ resources: { core: rate, search: { ...rate, limit: 30, remaining: 30, used: 0 } }, rate });
  });

  api.get('/meta', (c) =>
    c.json({
      verifiable_password_authentication: false,
      web: ['192.0.2.0/24'],
      api: ['192.0.2.0/24'],
      codespaces: ['198.51.100.0/24', '203.0.113.0/24'],
    }),
  );

  /** A person, or the refusal for a caller who is none. */
  function person(c: Context<ApiEnv>, page: string): Account {
    const caller = c.get('caller');
    if (caller.kind === 'nobody') throw requiresAuthentication();
    if (caller.kind === 'app' || caller.userId === undefined) throw notForIntegrations(page);
    return state().accounts.find(({ id }) => id === caller.userId)!;
  }

  function codespaceReader(c: Context<ApiEnv>, page: string): Account {
    const caller = c.get('caller');
    if (caller.kind === 'codespace' && caller.repositoryOnly) throw notForIntegrations(page);
    if (caller.kind === 'user' && caller.withoutScope)
      throw refusal(403, 'Must have admin rights to Repository.', page);
    return person(c, page);
  }

  /** A Codespace's token reaches its own repository; a person's those of their own and of their organisation. */
  function reaches(caller: Caller, repository: Repository): boolean {
    if (caller.kind === 'codespace')
      return state().codespaces.some(
        ({ id, repositoryId }) => id === caller.codespaceId && repositoryId === repository.id,
      );
    if (caller.kind !== 'user' || caller.withoutScope || caller.userId === undefined) return false;
    return repository.ownerId === caller.userId || state().members[repository.ownerId]?.[caller.userId] !== undefined;
  }

  /** An installation with the organisation's permission. */
  function mayReadCodespaces(c: Context<ApiEnv>, page: string): Account {
    const caller = c.get('caller');
    if (caller.kind !== 'installation') throw caller.kind === 'nobody' ? requiresAuthentication() : notFound(page);
    const org = organization(c, page);
    const entry = state().app.installations.find(({ id }) => id === caller.installationId);
    if (entry?.accountId !== org.id || entry.suspended) throw notFound(page);
    if (!caller.permissions?.organization_codespaces) throw notForIntegrations(page);
    return org;
  }

  /** Repository that the installation's owner owns and that it may read. */
  function jobsOf(c: Context<ApiEnv>, page: string) {
    const caller = c.get('caller');
    const repository = state().repositories.find(({ id }) => String(id) === c.req.param('repository'));
    if (!repository || caller.kind !== 'installation') throw notFound(page);
    const entry = state().app.installations.find(({ id }) => id === caller.installationId);
    if (entry?.accountId !== repository.ownerId || entry.suspended) throw notFound(page);
    if (!caller.permissions?.actions) throw notForIntegrations(page);
    return state().jobs.filter(({ repositoryId }) => repositoryId === repository.id);
  }

  function isOf(space: Codespace, org: Account): boolean {
    return state().repositories.find(({ id }) => id === space.repositoryId)?.ownerId === org.id;
  }

  function organization(c: Context<ApiEnv>, page: string, login = c.req.param('org') ?? ''): Account {
    const org = accountByLogin(state(), login, 'Organization');
    if (!org) throw notFound(page);
    return org;
  }

  function teamById(c: Context<ApiEnv>, page: string) {
    const named = state().accounts.find(
      ({ id, type }) => type === 'Organization' && String(id) === c.req.param('orgId'),
    );
    if (!named) throw notFound(page);
    const org = mayReadMembers(c, page, named.login);
    const team = state().teams.find(
      ({ id, organizationId }) => organizationId === org.id && String(id) === c.req.param('teamId'),
    );
    if (!team) throw notFound(page);
    return { org, team };
  }

  /** Members are seen by the organisation's own people and by an installation in it that may read them. */
  function mayReadMembers(c: Context<ApiEnv>, page: string, login?: string): Account {
    const caller = c.get('caller');
    if (caller.kind === 'nobody') throw requiresAuthentication();
    if (caller.kind === 'app' || caller.kind === 'actions' || caller.kind === 'codespace')
      throw notForIntegrations(page);
    const org = organization(c, page, login);
    if (caller.kind === 'installation') {
      const entry = state().app.installations.find(({ id }) => id === caller.installationId);
      if (entry?.accountId !== org.id || entry.suspended) throw notFound(page);
      if (!caller.permissions?.members) throw notForIntegrations(page);
    } else if (!state().members[org.id]?.[caller.userId!]) throw notFound(page);
    return org;
  }

  function codespacePage(c: Context<ApiEnv>, wanted: (space: Codespace) => boolean): Response {
    const all = state().codespaces.filter((space) => space.state !== 'Deleted' && wanted(space));
    const { shown, headers } = cut(c, all);
    const codespaces = shown.map((space) => shape.codespace(space, state(), base(c)));
    return c.json({ total_count: all.length, codespaces }, 200, headers);
  }

  function memberPage(c: Context<ApiEnv>, wanted: (account: Account) => boolean): Response {
    const all = state().accounts.filter((account) => account.type === 'User' && wanted(account));
    const { shown, headers } = cut(c, all);
    return c.json(
      shown.map((account) => shape.simpleUser(account, base(c))),
      200,
      headers,
    );
  }

  function cut<T>(c: Context<ApiEnv>, all: readonly T[]): { shown: readonly T[]; headers: Record<string, string> } {
    const perPage = Math.min(100, Math.max(1, Number(c.req.query('per_page') ?? 30) || 30));
    const number = Math.max(1, Number(c.req.query('page') ?? 1) || 1);
    const last = Math.max(1, Math.ceil(all.length / perPage));
    const link = (to: number, rel: string) =>
      `<${base(c).api}${c.req.path}?per_page=${perPage}&page=${to}>; rel="${rel}"`;
    const links = [
      ...(number > 1 ? [link(number - 1, 'prev')] : []),
      ...(number < last ? [link(number + 1, 'next'), link(last, 'last')] : []),
    ];
    const shown = all.slice((number - 1) * perPage, number * perPage);
    return { shown, headers: links.length ? { link: links.join(', ') } : {} };
  }

  return api;
}
