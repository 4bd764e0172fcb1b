/** Which of GitHub's tokens a Codespace may hold: told by their prefix, before GitHub is asked anything. */
import { MeshpassError } from '@meshpass/identity';

/**
 * GitHub's documentation ("About authentication to GitHub", GitHub's token formats) gives every kind its prefix, and says of
 * GITHUB_TOKEN in a Codespace that it begins with `ghu_`.
 */
const CODESPACE = 'ghu_';
const OTHERS: readonly (readonly [prefix: string, what: string])[] = [
  ['github_pat_', 'a fine-grained personal access token'],
  ['ghp_', 'a personal access token'],
  ['gho_', 'the token of an OAuth app'],
  ['ghr_', 'a refresh token'],
];
/** Of a workflow or an installation, which is nobody's: that is what a prebuild has. */
const INSTALLATION = 'ghs_';

/**
 * The prefix says nothing of what the token may do: it only keeps out what no Codespace has, such as a token of the developer's
 * that they use elsewhere, or that somebody found.
 * @throws MeshpassError `proof_token_kind`, `proof_prebuild`
 */
export function refuseOtherKinds(token: string): void {
  if (token.startsWith(CODESPACE)) return;
  if (token.startsWith(INSTALLATION))
    throw new MeshpassError(
      'proof_prebuild',
      'This is the token of a workflow, as in a prebuild, whose disk is cloned for many developers. ' +
        'Start meshpass from postStartCommand, which runs in each Codespace and never in a prebuild.',
    );
  const what = OTHERS.find(([prefix]) => token.startsWith(prefix))?.[1] ?? 'a token of an unknown kind';
  throw new MeshpassError(
    'proof_token_kind',
    `GITHUB_TOKEN is ${what}, not the Codespace's own token, which begins with ${CODESPACE}. ` +
      'If a secret of yours replaces it, rename that secret.',
  );
}
