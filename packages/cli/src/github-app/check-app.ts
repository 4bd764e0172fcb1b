/** Checks a GitHub App: its installations, their permissions, and the remaining rate limit. */
import { MeshpassError, pageUrl, plainText } from '@meshpass/identity';
import { z } from 'zod';
import { list, type OptionsOf, text, withEnvironmentVariables } from '../command/flag.ts';
import { type Finding, type Findings, misconfigured, ok, warning } from '../diagnosis/finding.ts';
import type { Check } from '../diagnosis/run.ts';
import { githubAppAuthorization, Page, queryGithub, Slug } from './ask-github.ts';
import { PERMISSIONS, type Permission } from './permissions.ts';

/** The flags that configure a GitHub App. They have the same names as in `meshpass serve`. */
export const githubAppFlags = {
  ...withEnvironmentVariables({
    githubApi: text('<url>', 'URL of the GitHub API', { default: 'https://api.github.com' }),
    githubApp: text('<id>', 'App ID or client ID of the GitHub App'),
    githubAppKey: text('<file>', "the GitHub App's private key, PEM"),
  }),
  organization: list('<login>', 'organization in which the App must be installed'),
};

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

/** The check warns if less than this share of the hourly rate limit remains. */
const FEW = 0.2;

/**
 * Returns a check of the App, or undefined if the flags do not specify an App. If no organization is specified, all
 * installations are checked.
 * @throws MeshpassError `usage` if only the App or only its key is specified
 */
export function githubAppCheck(flags: OptionsOf<typeof githubAppFlags>): Check | undefined {
  const { githubApi: api, githubApp: appId, githubAppKey: keyFile, organization: organizations } = flags;
  if (appId === undefined && keyFile === undefined) return undefined;
  if (appId === undefined || keyFile === undefined)
    throw new MeshpassError('usage', '--github-app and --github-app-key must be used together.');
  const run = async () => {
    const authorization = await githubAppAuthorization(appId, keyFile, Date.now());
    return await look(appId, organizations, api, authorization);
  };
  return { names: ['github'], run, onError: { seen: api } };
}

async function look(
  appId: string,
  organizations: readonly string[],
  api: string,
  authorization: string,
): Promise<Findings> {
  const app = await queryGithub(api, '/app', { authorization });
  if (app.status !== 200)
    return misconfigured(`GitHub rejected this key for App ${appId}.`, {
      seen: `GET ${api}/app: ${app.status} ${messageOf(app.json)}`,
      next: "Check that the App ID is correct, the App's page lists the key, and this machine's clock is correct.",
      command: 'meshpass github-app create --help',
    });
  const { slug, html_url: page } = taken(App, app.json, 'about the App');
  const listed = await queryGithub(api, '/app/installations?per_page=100', { authorization });
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
      misconfigured(`App ${slug} is not installed in ${one}.`, {
        seen: `GET ${api}/app/installations`,
        next: `Ask an organization owner to install it: ${install}`,
        command: `xdg-open ${install}`,
      }),
    );
  for (const one of installations.filter(({ account }) => isWanted(account.login, organizations)))
    findings.push(...[await lookAt(one, api, authorization)].flat());
  return findings.some(({ state }) => state === 'failed')
    ? findings
    : [ok(`App ${slug} (${appId}) has what the broker needs.`), ...findings];
}

function isWanted(login: string, organizations: readonly string[]): boolean {
  return organizations.length === 0 || organizations.some((one) => one.toLowerCase() === login.toLowerCase());
}

async function lookAt(one: Installation, api: string, authorization: string): Promise<Findings> {
  const where = one.account.login;
  const seen = `GET ${api}/app/installations: ${where}`;
  if (one.suspended_at != null)
    return misconfigured(`The installation in ${where} is suspended.`, {
      seen,
      next: 'Ask an organization owner to unsuspend it on its page.',
      command: `xdg-open ${one.html_url}`,
    });
  const lacking = PERMISSIONS.filter(({ name }) => one.permissions[name] === undefined);
  const findings = lacking.map((permission) => lacks(permission, one, seen));
  const more = Object.entries(one.permissions).filter(
    ([name, level]) => level !== 'read' || !PERMISSIONS.some((known) => known.name === name),
  );
  if (more.length > 0)
    findings.push(
      warning(
        `The installation in ${where} has more permissions than the broker needs: ${more.map(([name, level]) => `${name} (${level})`).join(', ')}.`,
        { seen, next: "Remove them on the App's page, because anyone with its key also has them." },
      ),
    );
  return [...findings, await budgetOf(one, api, authorization)].flat();
}

function lacks(
  { name, of, reason, onlyFor }: Permission,
  { account, html_url: page }: Installation,
  seen: string,
): Finding {
  const says = `The installation in ${account.login} lacks the ${of} permission ${name} (read). ${reason}`;
  const next = `Add it on the App's page, and accept the change in the organization: ${page}`;
  if (onlyFor !== undefined) return warning(`${says} Needed only for ${onlyFor}.`, { seen, next });
  return misconfigured(says, { seen, next, command: `xdg-open ${page}` });
}

/** Checks the remaining rate limit of an installation. */
async function budgetOf(one: Installation, api: string, authorization: string): Promise<Findings> {
  const path = `/app/installations/${one.id}/access_tokens`;
  const issued = await queryGithub(api, path, { method: 'POST', authorization });
  const token: unknown = issued.json?.token;
  if (issued.status !== 201 || typeof token !== 'string')
    return misconfigured(`GitHub did not issue a token for the installation in ${one.account.login}.`, {
      seen: `POST ${api}${path}: ${issued.status} ${messageOf(issued.json)}`,
      command: `xdg-open ${one.html_url}`,
    });
  const answer = await queryGithub(api, '/rate_limit', { authorization: `Bearer ${token}` });
  const core = Budget.safeParse(answer.json?.resources?.core);
  if (!core.success) return [];
  const { limit, remaining, reset } = core.data;
  const says = `${remaining} of ${limit} API calls remain this hour in ${one.account.login}`;
  const seen = `GET ${api}/rate_limit`;
  if (remaining >= limit * FEW) return ok(`${says}.`, seen);
  const until = new Date(reset * 1000).toISOString().slice(11, 16);
  return warning(`${says}, until ${until} UTC: the broker polls less often.`, {
    seen,
    next: `Find other users of this App; raise --github-sweep and --github-members, or stream the audit log (${pageUrl('docs/github/audit-log.md')}).`,
  });
}

/**
 * Validates a response from GitHub. Its values are printed, so they must not contain control characters, and any value
 * that is used in a command must be a single word.
 */
function taken<T>(form: z.ZodType<T>, json: unknown, what: string): T {
  const read = form.safeParse(json);
  if (read.success) return read.data;
  const where = read.error.issues[0]?.path.join('.') || 'the answer';
  throw new MeshpassError(
    'issuer_unavailable',
    `GitHub's answer ${what} differs from its documentation (${plainText(where)}).`,
  );
}

function messageOf(json: unknown): string {
  const message = (json as { message?: unknown } | undefined)?.message;
  return typeof message === 'string' ? plainText(message.slice(0, 200)) : '';
}
