/**
 * Uploads findings to code scanning (REST API, "Upload an analysis as SARIF data"), with `security-events: write` and no action of
 * anybody else. A repository without code scanning, and a pull request from a fork, get a warning: the lint step has said what is wrong.
 *   node upload-sarif.mjs FINDINGS.sarif
 * Environment of GitHub Actions: GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_SHA, GITHUB_REF, GITHUB_WORKSPACE.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { ask } from './github.mjs';

/** GitHub takes 10 MB of gzip. */
const MOST = 10_000_000;

const { GITHUB_REPOSITORY: repository, GITHUB_SHA: sha, GITHUB_REF: ref, GITHUB_WORKSPACE: workspace } = process.env;
if (!repository || !sha || !ref) throw new Error('This script must run in a GitHub Actions job.');
const sarif = gzipSync(readFileSync(process.argv[2]));
if (sarif.length > MOST)
  throw new Error(`The findings have ${sarif.length} bytes, but GitHub accepts at most ${MOST}.`);
const answer = await ask('POST', `/repos/${repository}/code-scanning/sarifs`, {
  commit_sha: sha,
  ref,
  sarif: sarif.toString('base64'),
  tool_name: 'meshpass',
  ...(workspace && { checkout_uri: pathToFileURL(workspace).href }),
});
if (answer.status === 202) console.log('Uploaded the findings to code scanning.');
else if (answer.status === 403 || answer.status === 404)
  console.log(
    `::warning title=Meshpass::Could not upload the findings to code scanning (${answer.status}): the job requires security-events: write, and the repository requires code scanning. Pull requests from forks have neither.`,
  );
else throw new Error(`GitHub responded to the upload of findings with ${answer.status}.`);
