/** Checks the kind of a GitHub token by its prefix, before any request to GitHub. */
import { MeshpassError } from '@meshpass/identity';

/**
 * Every kind of token has its own prefix, and GITHUB_TOKEN in a Codespace begins with `ghu_` (GitHub, "About
 * authentication to GitHub").
 */
const CODESPACE = 'ghu_';
const OTHERS: readonly (readonly [prefix: string, what: string])[] = [
  ['github_pat_', 'a fine-grained personal access token'],
  ['ghp_', 'a personal access token'],
  ['gho_', 'an OAuth app token'],
  ['ghr_', 'a refresh token'],
];
/** Token of a workflow or an installation, which belongs to no user. Prebuilds have one. */
const INSTALLATION = 'ghs_';

/**
 * Refuses kinds of tokens that no Codespace has, such as a personal token leaked elsewhere. The prefix proves nothing
 * about the token's permissions.
 * @throws MeshpassError `proof_token_kind`, `proof_prebuild`
 */
export function refuseOtherKinds(token: string): void {
  if (token.startsWith(CODESPACE)) return;
  if (token.startsWith(INSTALLATION))
    throw new MeshpassError(
      'proof_prebuild',
      'GITHUB_TOKEN is a workflow token, as in a prebuild, whose disk is cloned for many developers. ' +
        'Start meshpass from postStartCommand, which runs in every Codespace but never in a prebuild.',
    );
  const what = OTHERS.find(([prefix]) => token.startsWith(prefix))?.[1] ?? 'an unknown type of token';
  throw new MeshpassError(
    'proof_token_kind',
    `GITHUB_TOKEN is ${what}, not the Codespace's own token, which starts with ${CODESPACE}. ` +
      'If one of your secrets overrides it, rename that secret.',
  );
}
