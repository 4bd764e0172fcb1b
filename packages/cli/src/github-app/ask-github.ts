/** Sends requests to GitHub's API, authenticated as the App. */
import { createPrivateKey } from 'node:crypto';
import { signAppJwt } from '@meshpass/broker/attest/github/app';
import { readPrivateFile } from '@meshpass/broker/base/secrets/key-file';
import { MeshpassError, VERSION } from '@meshpass/identity';
import { z } from 'zod';
import { unreadableFileError } from '../input/files.ts';

export interface GithubResponse {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: each caller looks at the few members that it needs
  readonly json: any;
}

/** A GitHub login, or the short name (slug) of an App. */
export const Slug = z.string().regex(/^[A-Za-z0-9][\w-]{0,99}$/);
/** The URL of a GitHub page. It contains only characters that are safe to print and to use in commands. */
export const Page = z.string().regex(/^https?:\/\/[\w.~:/-]{1,290}$/);

const PATIENCE_MS = 15_000;
const MAX_ANSWER = 2 * 1024 * 1024;

/**
 * Sends a request to GitHub's API.
 * @throws MeshpassError `issuer_unavailable` if the response is not JSON
 */
export async function queryGithub(
  api: string,
  path: string,
  { method = 'GET', authorization }: { readonly method?: 'GET' | 'POST'; readonly authorization?: string } = {},
): Promise<GithubResponse> {
  try {
    const answer = await fetch(`${api.replace(/\/+$/, '')}${path}`, {
      method,
      headers: {
        accept: 'application/vnd.github+json',
        'x-github-api-version': '2022-11-28',
        'user-agent': `meshpass/${VERSION}`,
        ...(authorization && { authorization }),
      },
      redirect: 'error',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await answer.text();
    if (text.length > MAX_ANSWER) throw new Error('the answer is too long');
    return { status: answer.status, headers: answer.headers, json: text === '' ? undefined : JSON.parse(text) };
  } catch (cause) {
    throw new MeshpassError('issuer_unavailable', `GitHub (${new URL(api).host}) sent an unexpected response.`, {
      cause,
    });
  }
}

/**
 * Creates the value of an Authorization header that authenticates the App with a JWT (RFC 7519, RS256).
 * @param now the current time in Unix milliseconds
 * @throws MeshpassError `config_invalid` if the key is invalid or can be read by other users
 */
export async function githubAppAuthorization(appId: string, keyFile: string, now: number): Promise<string> {
  return `Bearer ${await signAppJwt(appId, keyOf(keyFile), now)}`;
}

function keyOf(file: string) {
  let pem: string;
  try {
    pem = readPrivateFile(file);
  } catch (cause) {
    throw cause instanceof MeshpassError
      ? cause
      : unreadableFileError(file, cause, '--github-app-key', 'config_invalid');
  }
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--github-app-key: ${file} is not a valid PEM private key.`, { cause });
  }
}
