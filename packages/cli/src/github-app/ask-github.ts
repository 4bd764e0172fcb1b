/** Questions to GitHub as the App itself. */
import { createPrivateKey } from 'node:crypto';
import { readPrivateFile } from '@meshpass/broker/secrets/key-file';
import { MeshpassError } from '@meshpass/identity/error';
import { VERSION } from '@meshpass/identity/version';
import { SignJWT } from 'jose';
import { z } from 'zod';
import { unreadable } from '../input/text-file.ts';

export interface GithubAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: each caller looks at the few members that it needs
  readonly json: any;
}

/** A login or the short name of an App. */
export const Slug = z.string().regex(/^[A-Za-z0-9][\w-]{0,99}$/);
/** An address of a page at GitHub: printed as it is, also in commands. */
export const Page = z.string().regex(/^https?:\/\/[\w.~:/-]{1,290}$/);

const PATIENCE_MS = 15_000;
const MAX_ANSWER = 2 * 1024 * 1024;
/** GitHub takes at most ten minutes, and its clock may be behind ours. */
const JWT_SECONDS = 540;
const DRIFT_SECONDS = 60;

/** @throws MeshpassError `issuer_unavailable` where it does not answer with JSON */
export async function askGithub(
  api: string,
  path: string,
  { method = 'GET', authorization }: { readonly method?: 'GET' | 'POST'; readonly authorization?: string } = {},
): Promise<GithubAnswer> {
  try {
    const answer = await fetch(`${api.replace(/\/+$/, '')}${path}`, {
      method,
      headers: {
        ...{ accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
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
    throw new MeshpassError('issuer_unavailable', `GitHub (${new URL(api).host}) does not answer as expected.`, {
      cause,
    });
  }
}

/**
 * `Bearer JWT` of an App (RFC 7519, RS256).
 * @throws MeshpassError `config_invalid` where the key is none, or others may read it
 */
export async function appAuthorization(appId: string, keyFile: string, now: number): Promise<string> {
  const seconds = Math.floor(now / 1000);
  const jwt = new SignJWT({ iss: appId, iat: seconds - DRIFT_SECONDS, exp: seconds + JWT_SECONDS });
  return `Bearer ${await jwt.setProtectedHeader({ alg: 'RS256' }).sign(keyOf(keyFile))}`;
}

function keyOf(file: string) {
  let pem: string;
  try {
    pem = readPrivateFile(file);
  } catch (cause) {
    throw cause instanceof MeshpassError ? cause : unreadable(file, cause, '--github-app-key', 'config_invalid');
  }
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--github-app-key: ${file} is no private key in PEM.`, { cause });
  }
}
