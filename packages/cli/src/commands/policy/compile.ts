/** `meshpass policy compile`: the access file as manifests, the same text for the same input, to be committed and applied. */
import { compile, formatManifests, loadAccess } from '@meshpass/access';
import { meshOf } from '@meshpass/access/compile';
import { type MeshFlags, readPolicyInput } from '../../input/policy-input.ts';

export interface CompileFlags extends MeshFlags {
  readonly access: string;
}

/** @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable` */
export async function compilePolicy(paths: readonly string[], flags: CompileFlags): Promise<void> {
  // By its bare name, as the broker reads it: what is compiled there is the same text.
  const { access } = loadAccess(flags.access);
  const { resources, shape, tokens, unread } = await readPolicyInput(paths, flags);
  if (unread !== undefined) console.error(unread);
  const manifests = compile(access, meshOf(resources, shape), tokens);
  // Its keys are the broker's, which writes it by itself, also where everything else is applied by others.
  const written =
    flags.jwks === undefined ? manifests.filter(({ kind }) => kind !== 'RequestAuthentication') : manifests;
  process.stdout.write(formatManifests(written));
}
