/** Lab-only routes of its GitHub, under a path that no real GitHub has. */
import { randomBytes, randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { NewCodespace, NewUser, StartedCodespace } from './admin-client.ts';
import type { Fault } from './fault.ts';
import type { ForwardingFault } from './forwarding.ts';
import {
  type Account,
  accountByLogin,
  CODESPACE_STATES,
  type Codespace,
  type CodespaceState,
  issueToken,
  type Job,
  newId,
  repositoryByFullName,
  type State,
} from './state.ts';

export const ADMIN_PATH = '/_lab_only_admin';

export interface AdminOptions {
  readonly state: () => State;
  readonly changed: () => void;
  readonly reset: () => void;
  readonly setFault: (fault: Fault) => void;
  readonly setForwardingFault: (fault: ForwardingFault) => void;
  readonly calls: () => readonly string[];
  readonly forwarded: () => readonly string[];
  readonly forgetCalls: () => void;
  /** Calls of each caller in its hour. */
  readonly spent: () => Readonly<Record<string, number>>;
  /** Ends that hour. */
  readonly renewBudgets: () => void;
  readonly now: () => number;
}

/** A Codespace's token dies with its longest run. */
const CODESPACE_TOKEN_MS = 12 * 3_600_000;

export function createAdmin(options: AdminOptions): Hono {
  const { state, changed, reset, setFault, calls, forgetCalls, now } = options;
  const admin = new Hono().basePath(ADMIN_PATH);
  admin.use(async (c, next) => {
    await next();
    if (c.req.method !== 'GET') changed();
  });

  admin.get('/app', (c) => c.json(state().app));
  admin.get('/calls', (c) => c.json(calls()));
  admin.get('/spent', (c) => c.json(options.spent()));
  admin.delete('/spent', (c) => {
    options.renewBudgets();
    return c.json({});
  });
  admin.get('/forwarded', (c) => c.json(options.forwarded()));
  admin.put('/forwarding-fault', async (c) => {
    options.setForwardingFault((await c.req.json<{ fault: ForwardingFault }>()).fault);
    return c.json({});
  });
  admin.delete('/calls', (c) => {
    forgetCalls();
    return c.json({});
  });
  admin.put('/fault', async (c) => {
    setFault(await c.req.json<Fault>());
    return c.json({});
  });
  admin.post('/reset', (c) => {
    reset();
    return c.json({});
  });

  admin.post('/users', async (c) => {
    const { login, id, memberOf } = await c.req.json<NewUser>();
    if (accountByLogin(state(), login)) throw bad(`login ${login} is taken`);
    const account: Account = { id: id ?? newId(), login, type: 'User', email: `${login}@acme.com` };
    state().accounts.push(account);
    if (memberOf) organizationMembers(memberOf)[account.id] = 'member';
    return c.json(account);
  });
  admin.patch('/users/:login', async (c) => {
    const account = user(c.req.param('login'));
    account.login = (await c.req.json<{ login: string }>()).login;
    return c.json(account);
  });
  admin.delete('/orgs/:org/members/:login', (c) => {
    delete organizationMembers(c.req.param('org'))[user(c.req.param('login')).id];
    return c.json({});
  });
  admin.put('/orgs/:org/members/:login', async (c) => {
    const { role } = await c.req.json<{ role: 'admin' | 'member' }>();
    organizationMembers(c.req.param('org'))[user(c.req.param('login')).id] = role;
    return c.json({});
  });
  admin.put('/app/permissions', async (c) => {
    state().app = { ...state().app, permissions: await c.req.json() };
    return c.json({});
  });
  admin.put('/orgs/:org/installation', async (c) => {
    const org = accountByLogin(state(), c.req.param('org'), 'Organization');
    const entry = state().app.installations.find(({ accountId }) => accountId === org?.id);
    const { suspended } = await c.req.json<{ suspended: boolean }>();
    if (!org) throw bad('there is no such organization');
    if (entry) entry.suspended = suspended;
    else state().app.installations.push({ id: 515151, accountId: org.id, suspended });
    return c.json(entry ?? {});
  });

  admin.put('/teams/:org/:slug/members/:login', async (c) => {
    const { role = 'member', state: standing = 'active' } = await c.req.json();
    team(c.req.param('org'), c.req.param('slug')).members[user(c.req.param('login')).id] = { role, state: standing };
    return c.json({});
  });
  /** The slug changes, the id stays. */
  admin.patch('/teams/:org/:slug', async (c) => {
    team(c.req.param('org'), c.req.param('slug')).slug = (await c.req.json<{ slug: string }>()).slug;
    return c.json({});
  });
  admin.post('/teams/:org/:slug', (c) => {
    const org = accountByLogin(state(), c.req.param('org'), 'Organization');
    if (!org) throw bad(`no organisation ${c.req.param('org')}`);
    const created = { id: newId(), organizationId: org.id, slug: c.req.param('slug'), members: {} };
    state().teams.push(created);
    return c.json(created);
  });
  admin.delete('/teams/:org/:slug/members/:login', (c) => {
    delete team(c.req.param('org'), c.req.param('slug')).members[user(c.req.param('login')).id];
    return c.json({});
  });

  admin.put('/jobs', async (c) => {
    const job = await c.req.json<Job>();
    state().jobs = [...state().jobs.filter(({ id }) => id !== job.id), job];
    return c.json({});
  });

  const create = (wanted: NewCodespace): StartedCodespace => {
    const owner = user(wanted.owner);
    const repository = repositoryByFullName(state(), wanted.repository);
    if (!repository) throw bad(`no repository ${wanted.repository}`);
    const billable = wanted.billableOwner ? accountByLogin(state(), wanted.billableOwner) : undefined;
    if (wanted.billableOwner && !billable) throw bad(`no account ${wanted.billableOwner}`);
    const born = new Date(now()).toISOString();
    const space: Codespace = {
      id: newId(),
      name: wanted.name ?? `${owner.login}-upgraded-space-${randomBytes(6).toString('hex')}`,
      environmentId: randomUUID(),
      ownerId: owner.id,
      billableOwnerId: billable?.id ?? repository.ownerId,
      repositoryId: repository.id,
      ref: wanted.ref ?? 'main',
      prebuild: wanted.createdFromPrebuild ?? false,
      createdAt: born,
      lastUsedAt: born,
      state: wanted.state ?? 'Available',
      host: wanted.host ?? 'workspace',
    };
    if (state().codespaces.some(({ name, state: s }) => name === space.name && s !== 'Deleted')) {
      throw bad(`codespace ${space.name} exists`);
    }
    state().codespaces.push(space);
    return { ...space, token: codespaceToken(space, !wanted.tokenReadsCodespaces) };
  };
  admin.post('/codespaces', async (c) => c.json(create(await c.req.json<NewCodespace>())));
  /** All are kept in one writing: one by one, thousands take minutes. */
  admin.post('/codespaces/several', async (c) => c.json((await c.req.json<NewCodespace[]>()).map(create)));
  admin.patch('/codespaces/:name', async (c) => {
    const wanted = (await c.req.json<{ state: CodespaceState }>()).state;
    if (!CODESPACE_STATES.includes(wanted)) throw bad(`no state ${wanted}`);
    const space = codespace(c.req.param('name'));
    space.state = wanted;
    space.lastUsedAt = new Date(now()).toISOString();
    return c.json(space);
  });
  /** Starts the Codespace: Available again, with a new token; the previous one is invalid. */
  admin.post('/codespaces/:name/start', (c) => {
    const space = codespace(c.req.param('name'));
    space.state = 'Available';
    let repositoryOnly = true;
    for (const [text, token] of Object.entries(state().tokens)) {
      if (token.codespaceId !== space.id) continue;
      repositoryOnly = token.repositoryOnly ?? true;
      delete state().tokens[text];
    }
    return c.json({ ...space, token: codespaceToken(space, repositoryOnly) });
  });

  admin.post('/tokens', async (c) => {
    const { kind, login, lifetimeMs = 3_600_000, prefix, withoutScope } = await c.req.json();
    const userId = kind === 'user' ? user(login).id : undefined;
    const expiresAt = now() + lifetimeMs;
    const token = { kind, expiresAt, ...(userId && { userId }), ...(withoutScope && { withoutScope }) };
    return c.json({ token: issueToken(state(), token, prefix) });
  });
  admin.post('/tokens/revoke', async (c) => {
    delete state().tokens[(await c.req.json<{ token: string }>()).token];
    return c.json({});
  });

  admin.onError((error, c) => c.json({ message: error.message }, error instanceof HTTPException ? error.status : 500));
  return admin;

  function codespaceToken(space: Codespace, repositoryOnly: boolean): string {
    const expiresAt = now() + CODESPACE_TOKEN_MS;
    return issueToken(state(), {
      kind: 'codespace',
      userId: space.ownerId,
      codespaceId: space.id,
      repositoryOnly,
      expiresAt,
    });
  }
  function user(login: string): Account {
    const account = accountByLogin(state(), login, 'User');
    if (!account) throw bad(`no user ${login}`);
    return account;
  }
  function organizationMembers(login: string) {
    const org = accountByLogin(state(), login, 'Organization');
    if (!org) throw bad(`no organisation ${login}`);
    state().members[org.id] ??= {};
    return state().members[org.id]!;
  }
  function team(org: string, slug: string) {
    const account = accountByLogin(state(), org, 'Organization');
    const found = state().teams.find((entry) => entry.organizationId === account?.id && entry.slug === slug);
    if (!found) throw bad(`no team ${org}/${slug}`);
    return found;
  }
  function codespace(name: string): Codespace {
    const space = state().codespaces.findLast((entry) => entry.name === name);
    if (!space) throw bad(`no codespace ${name}`);
    return space;
  }
}

function bad(message: string): HTTPException {
  return new HTTPException(400, { message });
}
