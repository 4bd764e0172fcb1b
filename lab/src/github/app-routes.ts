/** Routes for an App itself: its installations, and tokens for them. */
import type { Context, Hono } from 'hono';
import { type ApiEnv, type ApiOptions, base } from './api-options.ts';
import { addManifestRoutes } from './app-manifest.ts';
import { installation, integration } from './app-shape.ts';
import { notFound, refusal } from './refusal.ts';
import { accountByLogin, issueToken } from './state.ts';

const INSTALLATION_TOKEN_MS = 3_600_000;

export function addAppRoutes(api: Hono<ApiEnv>, options: ApiOptions): void {
  const { state, changed, now } = options;
  addManifestRoutes(api, options);
  api.get('/app', (c) => {
    theApp(c);
    return c.json(integration(state().app, state(), base(c)));
  });

  api.get('/app/installations', (c) => {
    theApp(c);
    return c.json(state().app.installations.map((entry) => installation(entry, state(), base(c))));
  });

  api.get('/orgs/:org/installation', (c) => {
    theApp(c);
    const page = '/apps/apps#get-an-organization-installation-for-the-authenticated-app';
    const org = accountByLogin(state(), c.req.param('org'), 'Organization');
    if (!org) throw notFound(page);
    const entry = state().app.installations.find(({ accountId }) => accountId === org.id);
    if (!entry) throw notFound(page);
    return c.json(installation(entry, state(), base(c)));
  });

  api.post('/app/installations/:id/access_tokens', async (c) => {
    theApp(c);
    const page = '/apps/apps#create-an-installation-access-token-for-an-app';
    const entry = state().app.installations.find(({ id }) => String(id) === c.req.param('id'));
    if (!entry) throw notFound(page);
    if (entry.suspended) throw refusal(403, 'This installation has been suspended', page);
    const wanted: unknown = (await c.req.text()) && (await c.req.json().catch(() => ({})));
    const permissions = grantedPermissions(wanted, state().app.permissions, page);
    const expiresAt = now() + INSTALLATION_TOKEN_MS;
    const token = issueToken(state(), { kind: 'installation', installationId: entry.id, permissions, expiresAt });
    changed();
    const expires = new Date(expiresAt).toISOString().replace('.000', '');
    return c.json({ token, expires_at: expires, permissions, repository_selection: 'all' }, 201);
  });
}

function theApp(c: Context<ApiEnv>): void {
  if (c.get('caller').kind !== 'app') throw refusal(401, 'A JSON web token could not be decoded');
}

/** A token may have less than the App, never more. */
function grantedPermissions(wanted: unknown, own: Record<string, string>, page: string): Record<string, string> {
  const asked = (wanted as { permissions?: Record<string, string> } | undefined)?.permissions;
  if (!asked) return own;
  for (const [name, level] of Object.entries(asked)) {
    if (!own[name] || (level === 'write' && own[name] === 'read')) {
      throw refusal(422, 'The permissions requested are not granted to this installation.', page);
    }
  }
  return { ...asked, metadata: 'read' };
}
