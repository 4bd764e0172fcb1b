/** Flags that name a GitHub App, as in `meshpass serve`. */
import { MeshpassError } from '@meshpass/identity/error';
import { inEnvironment, list, type OptionsOf, text } from '../command/flag.ts';
import type { Check } from '../diagnosis/run.ts';
import { checkApp } from './check-app.ts';

export const appFlags = {
  ...inEnvironment({
    githubApi: text('<url>', 'URL of the GitHub API', { default: 'https://api.github.com' }),
    githubApp: text('<id>', 'App ID or client ID of the GitHub App'),
    githubAppKey: text('<file>', "the GitHub App's private key, PEM"),
  }),
  organization: list('<login>', 'organization in which the App must be installed'),
};

/**
 * Returns a check of the App; undefined if no App is named.
 * @throws MeshpassError `usage` if only one of App and key is named
 */
export function checkAppBy({
  githubApi: api,
  githubApp: appId,
  githubAppKey: keyFile,
  organization: organizations,
}: OptionsOf<typeof appFlags>): Check | undefined {
  if (appId === undefined && keyFile === undefined) return undefined;
  if (appId === undefined || keyFile === undefined)
    throw new MeshpassError('usage', '--github-app and --github-app-key must be used together.');
  return checkApp({ api, appId, keyFile, organizations, now: Date.now });
}
