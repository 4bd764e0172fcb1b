/**
 * Writes the comparison and the plan into the one comment of a pull request: creates it, or updates the existing one. No
 * dependencies, and no more rights than `pull-requests: write`; without that right, as in a pull request from a fork, the text goes
 * to the job summary.
 *   node comment.mjs FOLDER
 * FOLDER has NAME.md of each part, or NAME.error.txt if that part could not be created.
 * Environment of GitHub Actions: GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_STEP_SUMMARY, RUNNER_TEMP; and PULL_REQUEST,
 * HEAD_SHA, MANIFESTS and BROKER.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { call, RefusedCall } from './github.mjs';

/** Marker by which the comment is found again. */
const MARK = '<!-- meshpass-policy-plan -->';
/** GitHub takes 65,536 characters. */
const MOST = 60_000;
const PAGES = 30;

const {
  GITHUB_API_URL: api,
  GITHUB_REPOSITORY: repository,
  GITHUB_TOKEN: token,
  GITHUB_STEP_SUMMARY: summary,
  RUNNER_TEMP: temp,
  PULL_REQUEST: number,
  HEAD_SHA: head = '',
  MANIFESTS: manifests,
  BROKER: broker,
} = process.env;
if (!api || !repository || !token || !/^\d+$/.test(number ?? ''))
  throw new Error('This script must run in a pull request job.');

const [folder] = process.argv.slice(2);
const comments = `/repos/${repository}/issues/${number}/comments`;
const body = bodyOf();
try {
  const found = await find();
  if (found) await call('PATCH', `/repos/${repository}/issues/comments/${found}`, { body });
  else await call('POST', comments, { body });
} catch (error) {
  if (!(error instanceof RefusedCall) || (error.status !== 403 && error.status !== 404) || !summary) throw error;
  appendFileSync(summary, `${body}\n`);
  console.log(
    `::notice title=Meshpass::The comment is in the job summary, because this job may not write it (${error.status}): it requires pull-requests: write, which pull requests from forks do not have.`,
  );
}

function bodyOf() {
  const parts = [
    ...(manifests ? [part('changes', 'Calls', 'compared'), part('exposure', 'New ways from outside', 'compared')] : []),
    ...(broker ? [part('plan', 'Plan of the access file', 'planned')] : []),
  ];
  let left = MOST;
  const texts = parts.map((text, at) => {
    const short = cut(text, Math.floor(left / (parts.length - at)));
    left -= short.length;
    return short;
  });
  const base = read('base.txt');
  const commits = [head && `Commit ${head.slice(0, 12)}`, base && `compared with ${base.slice(0, 12)}`].filter(Boolean);
  return [MARK, '## What this changes in the mesh', ...texts, `<sub>${commits.join(', ')}</sub>`].join('\n\n');
}

function part(name, title, done) {
  const text = read(`${name}.md`);
  const error = read(`${name}.error.txt`) || 'An earlier step of the job failed.';
  // Its own headings are below the title.
  return `### ${title}\n\n${text.replace(/^## /gm, '#### ') || `**Not ${done}.**\n\n${fenced(error)}`}`;
}

/** Reads a file of the folder. Places in the copies of both sides are shown as `base/` and `head/`. */
function read(name) {
  const file = join(folder, name);
  if (!existsSync(file)) return '';
  const text = readFileSync(file, 'utf8').trim();
  return temp ? text.replaceAll(join(temp, 'meshpass-compare/'), '') : text;
}

/** Longer than any fence in the text, so that nothing in it ends the block. */
function fenced(text) {
  const fence = '`'.repeat(Math.max(3, ...(text.match(/`+/g) ?? []).map((one) => one.length + 1)));
  return `${fence}\n${text}\n${fence}`;
}

/** Cuts a text between lines, and closes what is open there, so that the next part does not become a part of it. */
function cut(text, most) {
  if (text.length <= most) return text;
  const note = '… truncated; see the job log for the rest.';
  const kept = [];
  const open = [];
  let room = most - note.length - 100;
  for (const line of text.split('\n')) {
    room -= line.length + 1;
    if (room < 0) break;
    kept.push(line);
    const fence = /^`{3,}/.exec(line)?.[0];
    if (fence && open.at(-1) === line) open.pop();
    else if (fence && !open.at(-1)?.startsWith('`')) open.push(fence);
    else if (line.startsWith('<details>')) open.push('</details>');
    else if (line === open.at(-1)) open.pop();
  }
  return [...kept, ...open.reverse().flatMap((end) => [end, '']), '', note].join('\n');
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
