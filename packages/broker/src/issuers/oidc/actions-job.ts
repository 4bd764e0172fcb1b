/**
 * Reads the ids in a GitHub Actions token. `sub` is not used, because repository settings can change its text and it
 * has two forms (`repo:OWNER/REPO:...` and `repo:OWNER@ID/REPO@ID:...`).
 */
import { MeshpassError, type Workspace } from '@meshpass/identity';
import { z } from 'zod';
import { malformed } from './read-token.ts';

export interface ActionsJob {
  /** `repo:REPOSITORY_ID`. All workflows of a repository are one subject, regardless of who triggers them. */
  readonly subject: string;
  readonly actor: { readonly id: number; readonly login: string };
  readonly workspace: Workspace;
}

const numeric = z
  .string()
  .regex(/^[1-9][0-9]{0,15}$/)
  .transform(Number)
  .refine(Number.isSafeInteger);
const text = z.string().min(1).max(500);

/**
 * Claims of a GitHub Actions token; every value is a string (https://docs.github.com/actions/reference/security/oidc).
 */
const Claims = z.object({
  repository: text,
  repository_id: numeric,
  repository_owner_id: numeric,
  actor: text,
  actor_id: numeric,
  run_id: numeric,
  run_attempt: numeric,
  ref: text.optional(),
  workflow_ref: text.optional(),
});

/** GitHub's own workflow that creates Codespaces prebuilds. */
const PREBUILD = /^[^/]+\/[^/]+\/dynamic\/codespaces\//;

/**
 * Reads a job's verified claims.
 * @throws MeshpassError `proof_malformed`, `proof_prebuild`
 */
export function readActionsJob(verified: Readonly<Record<string, unknown>>): ActionsJob {
  const read = Claims.safeParse(verified);
  if (!read.success) {
    const members = read.error.issues.map(({ path }) => path.join('.')).join(', ');
    throw malformed(`unexpected ${members} for a GitHub Actions token`);
  }
  const claims = read.data;
  if (claims.workflow_ref && PREBUILD.test(claims.workflow_ref)) {
    throw new MeshpassError(
      'proof_prebuild',
      'This is a Codespaces prebuild. Its disk is cloned for many developers, so it cannot get an identity.',
    );
  }
  return {
    subject: `repo:${claims.repository_id}`,
    actor: { id: claims.actor_id, login: claims.actor },
    workspace: {
      kind: 'actions',
      key: `actions:${claims.repository_id}:${claims.run_id}:${claims.run_attempt}`,
      name: `${claims.repository}#${claims.run_id}`,
      repository: { id: claims.repository_id, fullName: claims.repository, ownerId: claims.repository_owner_id },
      ...(claims.ref ? { ref: claims.ref } : {}),
    },
  };
}
