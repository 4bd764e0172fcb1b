/** What an App lacks: it asks GitHub about the App, its installations, their permissions, and the calls that are left. */
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { type Finding, failed, wrong } from '../doctor/line.ts';
import { appAuthorization, askGithub, Page, Slug } from './ask-github.ts';
import { PERMISSIONS, type Permission } from './permissions.ts';

export interface AppOptions {
  /** `https://api.github.com` */
  readonly api: string;
  /** App id or client id. */
  readonly appId: string;
  /** File with its key. */
  readonly keyFile: string;
  /** Organizations in which it must be installed; none: those in which it is are looked at. */
  readonly organizations: readonly string[];
  /** Unix milliseconds. */
  readonly now: () => number;
}

const App = z.object({ slug: Slug, html_url: Page });
const Level = z.string().regex(/^[a-z_]{1,60}$/);
const Installation = z.object({
  id: z.int().positive(),
  account: z.object({ login: Slug }),
  permissions: z.record(Level, Level),
  html_url: Page,
  suspended_at: z.string().max(100).nullish(),
});
type Installation = z.infer<typeof Installation>;
const Budget = z.object({ limit: z.number(), remaining: z.number(), reset: z.number().max(8.64e12).default(0) });

/** Below this share of the hour's calls it is a warning. */
const FEW = 0.2;

/** Never throws for what GitHub says. */
export async function checkApp(options: AppOptions): Promise<readonly Finding[]> {
  try {
    return await look(options);
  } catch (thrown) {
    return [failed('github', toMeshpassError(thrown), { seen: options.api })];
  }
}

async function look({ api, appId, keyFile, organizations, now }: AppOptions): Promise<readonly Finding[]> {
  const authorization = await appAuthorization(appId, keyFile, now());
  const app = await askGithub(api, '/app', { authorization });
  if (app.status !== 200)
    return [
      wrong('github', `GitHub does not know App ${appId} by this key.`, {
        seen: `GET ${api}/app: ${app.status} ${messageOf(app.json)}`,
        next: 'Check the App id and that the key is one of the keys on its page; the clock must be right, too.',
        command: 'meshpass github-app create --help',
      }),
    ];
  const { slug, html_url: page } = taken(App, app.json, 'about the App');
  const listed = await askGithub(api, '/app/installations?per_page=100', { authorization });
  if (listed.status !== 200 || !Array.isArray(listed.json))
    throw new MeshpassError(
      'issuer_unavailable',
      `GitHub does not list the installations of App ${appId}: ${listed.status} ${messageOf(listed.json)}`,
    );
  const installations = taken(z.array(Installation), listed.json, 'about its installations');
  const missing = organizations.filter(
    (one) => !installations.some(({ account }) => account.login.toLowerCase() === one.toLowerCase()),
  );
  const findings: Finding[] = [];
  const install = `${page}/installations/new`;
  for (const one of missing.length === 0 && installations.length === 0 ? ['any organization'] : missing)
    findings.push(
      wrong('github', `App ${slug} is not installed in ${one}.`, {
        ...{ seen: `GET ${api}/app/installations`, next: `An owner of the organization installs it: ${install}` },
        command: `xdg-open ${install}`,
      }),
    );
  for (const one of installations.filter(({ account }) => isWanted(account.login, organizations)))
    findings.push(...(await lookAt(one, api, authorization)));
  return findings.some(({ state }) => state === 'failed')
    ? findings
    : [{ check: 'github', state: 'ok', says: `App ${slug} (${appId}) has what the broker needs.` }, ...findings];
}

function isWanted(login: string, organizations: readonly string[]): boolean {
  return organizations.length === 0 || organizations.some((one) => one.toLowerCase() === login.toLowerCase());
}

async function lookAt(one: Installation, api: string, authorization: string): Promise<readonly Finding[]> {
  const where = one.account.login;
  const seen = `GET ${api}/app/installations: ${where}`;
  if (one.suspended_at != null)
    return [
      wrong('github', `The installation in ${where} is suspended.`, {
        ...{ seen, next: 'An owner of the organization resumes it on its page.', command: `xdg-open ${one.html_url}` },
      }),
    ];
  const lacking = PERMISSIONS.filter(({ name }) => one.permissions[name] === undefined);
  const findings = lacking.map((permission) => lacks(permission, one, seen));
  const more = Object.entries(one.permissions).filter(
    ([name, level]) => level !== 'read' || !PERMISSIONS.some((known) => known.name === name),
  );
  if (more.length > 0)
    findings.push({
      ...{ check: 'github', state: 'warning', seen },
      says: `In ${where} it may more than the broker needs: ${more.map(([name, level]) => `${name} (${level})`).join(', ')}.`,
      next: "Take that away on the App's page: whoever has its key has it, too.",
    });
  return [...findings, ...(await budgetOf(one, api, authorization))];
}

function lacks(
  { name, of, reason, onlyFor }: Permission,
  { account, html_url: page }: Installation,
  seen: string,
): Finding {
  const says = `In ${account.login} it lacks the ${of} permission ${name} (read). ${reason}`;
  const next = `Give it on the App's page, and accept the change in the organization: ${page}`;
  if (onlyFor !== undefined)
    return { check: 'github', state: 'warning', says: `${says} Needed only for ${onlyFor}.`, seen, next };
  return wrong('github', says, { seen, next, command: `xdg-open ${page}` });
}

/** Of the installation: each has a budget of its own. */
async function budgetOf(one: Installation, api: string, authorization: string): Promise<readonly Finding[]> {
  const path = `/app/installations/${one.id}/access_tokens`;
  const issued = await askGithub(api, path, { method: 'POST', authorization });
  const token: unknown = issued.json?.token;
  if (issued.status !== 201 || typeof token !== 'string')
    return [
      wrong('github', `GitHub gives no token for the installation in ${one.account.login}.`, {
        ...{
          seen: `POST ${api}${path}: ${issued.status} ${messageOf(issued.json)}`,
          command: `xdg-open ${one.html_url}`,
        },
      }),
    ];
  const answer = await askGithub(api, '/rate_limit', { authorization: `Bearer ${token}` });
  const core = Budget.safeParse(answer.json?.resources?.core);
  if (!core.success) return [];
  const { limit, remaining, reset } = core.data;
  const says = `${remaining} of ${limit} calls of this hour are left in ${one.account.login}`;
  const seen = `GET ${api}/rate_limit`;
  if (remaining >= limit * FEW) return [{ check: 'github', state: 'ok', says: `${says}.`, seen }];
  const until = new Date(reset * 1000).toISOString().slice(11, 16);
  return [
    {
      ...{ check: 'github', state: 'warning', seen, says: `${says}, until ${until} UTC: polls are stretched.` },
      next: 'See who else uses this App; raise --github-sweep and --github-members, or stream the audit log (docs/github/audit-log.md).',
    },
  ];
}

/** What is printed is of GitHub's own form: it can move no terminal's cursor, and is one word where a command has it. */
function taken<T>(form: z.ZodType<T>, json: unknown, what: string): T {
  const read = form.safeParse(json);
  if (read.success) return read.data;
  const where = read.error.issues[0]?.path.join('.') || 'the answer';
  throw new MeshpassError(
    'issuer_unavailable',
    `What GitHub says ${what} is not as it is documented (${plainText(where)}).`,
  );
}

function messageOf(json: unknown): string {
  const message = (json as { message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? plainText(message.slice(0, 200)) : '';
}
