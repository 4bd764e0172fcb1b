/** Who asks GitHub for the watcher: the organisation's GitHub App, or a token in a file. */
import { z } from 'zod';
import {
  type GithubApiOptions,
  messageOf,
  parseGithub,
  pathPart,
  requestGithub,
  requestId,
} from '../attest/github/api.ts';
import type { GithubApp } from '../attest/github/app.ts';
import type { IssuerRequest, IssuerResponse } from '../attest/issuer-http.ts';
import { unavailable } from '../attest/issuer-http.ts';
import { readPrivateFile } from '../secrets/key-file.ts';

/**
 * @param path each part that is not ours passed through pathPart
 * @returns 200 or 304; undefined where it is not there (404)
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export type ReadGithub = (
  organization: string,
  path: string,
  question?: IssuerRequest,
) => Promise<IssuerResponse | undefined>;

const Organization = z.object({ id: z.int().positive() });

/** Id of an organization; undefined where it may not be read. */
export function organizationIdBy(read: ReadGithub): (organization: string) => Promise<number | undefined> {
  return async (organization) => {
    const part = pathPart(organization);
    const answer = part && (await read(organization, `/orgs/${part}`));
    return answer ? parseGithub(Organization, answer).id : undefined;
  };
}

/** Needs the App's permissions "Organization codespaces: read", "Codespaces: read" and "Members: read". */
export function readAsApp(app: GithubApp): ReadGithub {
  return (organization, path, question) => app.request(organization, path, question);
}

/**
 * With a token that may read the organisation's Codespaces and members, for organisations that install no App.
 * @param file its only line is the token; read anew for every question, so that it can be replaced
 */
export function readWithTokenFile(file: string, options: GithubApiOptions): ReadGithub {
  return async (_organization, path, question) => {
    const token = readToken(file);
    const answer = await requestGithub(path, token, options, question);
    if (answer.status === 404) return undefined;
    if (answer.status < 300 || answer.status === 304) return answer;
    throw unavailable('GitHub', 'the token may not read this', {
      status: answer.status,
      message: messageOf(answer),
      requestId: requestId(answer),
    });
  };
}

function readToken(file: string): string {
  try {
    return readPrivateFile(file).trim();
  } catch (cause) {
    throw unavailable('GitHub', 'the token file cannot be read', { file }, cause);
  }
}
