/** Flags that name a GitHub App, as `meshpass serve` has them. */
import { MeshpassError } from '@meshpass/identity/error';
import { list, type OptionsOf, text } from '../command/flag.ts';
import type { Finding } from '../doctor/line.ts';
import { checkApp } from './check-app.ts';

export const appFlags = {
  githubApi: text('<url>', 'GitHub API', { env: 'MESHPASS_GITHUB_API', default: 'https://api.github.com' }),
  githubApp: text('<id>', 'App id or client id of the GitHub App', { env: 'MESHPASS_GITHUB_APP' }),
  githubAppKey: text('<file>', "the GitHub App's private key, PEM", { env: 'MESHPASS_GITHUB_APP_KEY' }),
  organization: list('<login>', 'organization in which it must be installed'),
};

/**
 * @returns asks GitHub about the App; undefined where none is named
 * @throws MeshpassError `usage` where only one of App and key is named
 */
export function checkAppBy({
  githubApi: api,
  githubApp: appId,
  githubAppKey: keyFile,
  organization: organizations,
}: OptionsOf<typeof appFlags>): (() => Promise<readonly Finding[]>) | undefined {
  if (appId === undefined && keyFile === undefined) return undefined;
  if (appId === undefined || keyFile === undefined)
    throw new MeshpassError('usage', '--github-app and --github-app-key go together.');
  return () => checkApp({ api, appId, keyFile, organizations, now: Date.now });
}
