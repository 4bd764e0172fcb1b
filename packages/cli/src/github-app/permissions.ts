/** A permission to read that the broker's GitHub App needs, including the reason. */
export interface Permission {
  readonly name: string;
  readonly of: 'organization' | 'repository';
  readonly reason: string;
  /** The feature that needs the permission. Absent if every broker needs it. */
  readonly onlyFor?: string;
}

export const PERMISSIONS: readonly Permission[] = [
  {
    name: 'metadata',
    of: 'repository',
    reason: 'Names and IDs of repositories, which GitHub grants to every App.',
  },
  {
    name: 'members',
    of: 'organization',
    reason:
      "Developers' organization and team memberships: access files grant access by membership, and losing one ends a session.",
  },
  {
    name: 'organization_codespaces',
    of: 'organization',
    reason:
      "Which of the organization's Codespaces are running: the broker checks the Codespace before it opens a session, and ends the session when the Codespace stops.",
  },
  {
    name: 'actions',
    of: 'repository',
    reason: 'Whether a GitHub Actions job with a session is still running.',
    onlyFor: 'GitHub Actions jobs that join the mesh',
  },
];
