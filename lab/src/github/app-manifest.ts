/**
 * The manifest flow: the form to which the browser sends the manifest, confirmed at once, and the exchange of the code. The
 * stand-in has one App: this one takes its place, with its key, and is installed nowhere.
 */
import { randomBytes } from 'node:crypto';
import type { Context, Hono } from 'hono';
import { z } from 'zod';
import { type ApiEnv, type ApiOptions, base } from './api-options.ts';
import { integration } from './app-shape.ts';
import { notFound, refusal } from './refusal.ts';
import { type Account, accountByLogin } from './state.ts';

const CODE_MS = 3_600_000;
/** "Registering a GitHub App from a manifest": required members, and the form of the others that matter here. */
const Manifest = z.object({
  name: z.string().min(1).max(34),
  url: z.url(),
  redirect_url: z.url(),
  public: z.boolean().default(false),
  hook_attributes: z.object({ url: z.url(), active: z.boolean().default(true) }).optional(),
  default_events: z.array(z.string()).default([]),
  default_permissions: z.record(z.string(), z.enum(['read', 'write'])).default({}),
});
const PAGE = '/apps/apps#create-a-github-app-from-a-manifest';

interface Pending {
  readonly manifest: z.infer<typeof Manifest>;
  readonly owner: Account;
  readonly until: number;
}

export function addManifestRoutes(api: Hono<ApiEnv>, { state, changed, now, appPrivateKey }: ApiOptions): void {
  const pending = new Map<string, Pending>();

  const confirm = async (c: Context<ApiEnv>, owner: Account | undefined) => {
    if (!owner) throw notFound(PAGE);
    const form = await c.req.parseBody();
    const read = Manifest.safeParse(JSON.parse(String(form.manifest ?? 'null')));
    if (!read.success)
      throw refusal(422, `Error: ${read.error.issues.map(({ path }) => path.join('.')).join(', ')}`, PAGE);
    const code = randomBytes(20).toString('hex');
    pending.set(code, { manifest: read.data, owner, until: now() + CODE_MS });
    const back = new URL(read.data.redirect_url);
    back.searchParams.set('code', code);
    const given = c.req.query('state');
    if (given !== undefined) back.searchParams.set('state', given);
    return c.redirect(back.href, 302);
  };
  api.post('/settings/apps/new', (c) =>
    confirm(
      c,
      state().accounts.find(({ type }) => type === 'User'),
    ),
  );
  api.post('/organizations/:org/settings/apps/new', (c) =>
    confirm(c, accountByLogin(state(), c.req.param('org'), 'Organization')),
  );

  api.post('/app-manifests/:code/conversions', (c) => {
    const found = pending.get(c.req.param('code'));
    pending.delete(c.req.param('code'));
    if (!found || found.until < now()) throw notFound(PAGE);
    const { manifest, owner } = found;
    const slug = manifest.name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
    const permissions = { metadata: 'read', ...manifest.default_permissions };
    state().app = { ...state().app, slug, ownerId: owner.id, permissions, installations: [] };
    changed();
    return c.json(
      {
        ...integration(state().app, state(), base(c)),
        client_secret: randomBytes(20).toString('hex'),
        webhook_secret: randomBytes(20).toString('hex'),
        pem: appPrivateKey,
      },
      201,
    );
  });
}
