/**
 * Writes the plan into the one comment of a pull request: creates it, or updates the existing one. No dependencies, and no
 * more rights than `pull-requests: write`.
 *   node comment.mjs PLAN.md ERROR.txt
 * Environment of GitHub Actions: GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_SHA; and PULL_REQUEST.
 */
import { readFileSync } from 'node:fs';
import { call } from './github.mjs';

/** Marker by which the comment is found again. */
const MARK = '<!-- meshpass-policy-plan -->';
/** GitHub takes 65,536 characters. */
const MOST = 60_000;
const PAGES = 30;

const {
  GITHUB_API_URL: api,
  GITHUB_REPOSITORY: repository,
  GITHUB_TOKEN: token,
  GITHUB_SHA: sha,
  PULL_REQUEST: number,
} = process.env;
if (!api || !repository || !token || !/^\d+$/.test(number ?? ''))
  throw new Error('This script must run in a pull request job.');

const [plan, error] = process.argv.slice(2).map((file) => readFileSync(file, 'utf8').trim());
const comments = `/repos/${repository}/issues/${number}/comments`;
const body = bodyOf();
const found = await find();
if (found) await call('PATCH', `/repos/${repository}/issues/comments/${found}`, { body });
else await call('POST', comments, { body });

function bodyOf() {
  const failed = error ? `**No plan was created.**\n\n${fenced(error)}` : '**No plan was created.**';
  const text = plan || failed;
  const whole = text.length > MOST ? `${text.slice(0, MOST)}\n\n… truncated; see the job log for the rest.` : text;
  return `${MARK}\n## What this changes in the mesh\n\n${whole}\n\n<sub>${sha ? `Planned for ${sha.slice(0, 12)}.` : ''}</sub>`;
}

/** Longer than any fence in the text, so that nothing in it ends the block. */
function fenced(text) {
  const fence = '`'.repeat(Math.max(3, ...(text.match(/`+/g) ?? []).map((one) => one.length + 1)));
  return `${fence}\n${text}\n${fence}`;
}

/** Our own comment; a comment of another author with the mark is left alone. */
async function find() {
  for (let page = 1; page <= PAGES; page++) {
    const list = await call('GET', `${comments}?per_page=100&page=${page}`);
    const ours = list.find((one) => one.body?.startsWith(MARK) && one.user?.type === 'Bot');
    if (ours) return ours.id;
    if (list.length < 100) return undefined;
  }
  return undefined;
}
