/** Reads from GitHub on behalf of the watch, using either the organization's GitHub App or a token stored in a file. */
import { readPrivateFile } from '../../base/index.ts';
import { issuerUnavailableError } from '../../issuers/index.ts';
import { type GithubApiOptions, type ReadGithub, requestGithub, requireSuccess } from './api.ts';
import type { GithubApp } from './app.ts';

/**
 * Creates a reader that uses the GitHub App. The App needs the permissions "Organization codespaces: read",
 * "Codespaces: read" and "Members: read".
 */
export function createAppReader(app: GithubApp): ReadGithub {
  return (organization, path, question) => app.request(organization, path, question);
}

/**
 * Creates a reader that uses a token, for organizations that have not installed an App. The token must be allowed to
 * read the organization's Codespaces and members.
 * @param file the path to a file that contains nothing but the token. The file is read for every request so that the
 *   token can be replaced.
 */
export function createTokenFileReader(file: string, options: GithubApiOptions): ReadGithub {
  return async (_organization, path, question) => {
    const token = readToken(file);
    const answer = await requestGithub(path, token, options, question);
    return answer.status === 404 ? undefined : requireSuccess(answer, 'the token is not allowed to read this');
  };
}

function readToken(file: string): string {
  try {
    return readPrivateFile(file).trim();
  } catch (cause) {
    throw issuerUnavailableError('GitHub', 'cannot read the token file', { file }, cause);
  }
}
