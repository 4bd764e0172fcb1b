import { compile, formatManifests, loadAccess } from '@meshpass/access';
import { meshOf } from '@meshpass/access/compile';
import { defineCommand } from '../../command/define.ts';
import { argumentsOf, type OptionsOf, text } from '../../command/flag.ts';
import { accessFile } from '../../command/shared-flags.ts';
import { meshFlags, readPolicyInput } from '../../input/policy-input.ts';
import { namingFlag } from '../../input/text-file.ts';
import { warnLines } from '../../output/print.ts';

const args = {
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = {
  access: accessFile,
  jwks: text('<file>', 'JWKS of identity tokens; without it, RequestAuthentication is left to the broker'),
  ...meshFlags,
};

export const command = defineCommand({
  about: 'For GitOps: the same input always produces the same text, ready to commit and apply.',
  args,
  flags,
  examples: [
    'meshpass policy compile --access access.yaml --public-url https://broker.example.com mesh/ > meshpass.yaml',
  ],
  page: 'docs/policy.md',
  run: compilePolicy,
});

/**
 * Compiles the access file.
 * @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable`
 */
async function compilePolicy({ paths, ...options }: OptionsOf<typeof args & typeof flags>): Promise<void> {
  // The name has no path, as in the broker, so that both compile the same text.
  const { access } = namingFlag('--access', () => loadAccess(options.access));
  const { resources, shape, tokens, unread } = await readPolicyInput(paths, options);
  if (unread !== undefined) warnLines(unread);
  const manifests = compile(access, meshOf(resources, shape), tokens);
  // Only the broker knows the keys. It writes RequestAuthentication itself, even with GitOps.
  const written =
    options.jwks === undefined ? manifests.filter(({ kind }) => kind !== 'RequestAuthentication') : manifests;
  process.stdout.write(formatManifests(written));
}
