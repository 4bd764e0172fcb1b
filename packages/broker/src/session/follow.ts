/** Follows the mesh and the access file: live sessions lose what they are no longer granted, and edges learn the rest. */
import type { Access } from '@meshpass/access';
import { type RecheckContext, recheckSession } from './recheck.ts';

/** @returns stops it */
export function recheckOnChange(context: RecheckContext): () => void {
  const { mesh, live, feed } = context;
  let access: Access | undefined = mesh.inForce() ? mesh.access() : undefined;
  let roots = mesh.roots().join('');
  let version = mesh.version();
  return mesh.onChange(() => {
    if (!mesh.inForce()) return;
    const now = { access: mesh.access(), roots: mesh.roots().join(''), version: mesh.version() };
    if (now.access !== access) for (const one of [...live.all()]) recheckSession(context, one).catch(context.onFailure);
    if (now.roots !== roots) feed.roots();
    if (now.access !== access || now.version !== version) for (const one of live.all()) feed.admit(one.session);
    ({ access, roots, version } = now);
  });
}
