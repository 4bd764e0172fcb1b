/**
 * A permission that the broker's GitHub App needs, including the reason. The App has no webhook and receives no events.
 */

export interface Permission {
  readonly name: string;
  readonly level: 'read';
  readonly of: 'organization' | 'repository';
  readonly reason: string;
  /** The feature that needs the permission. Absent if every broker needs it. */
  readonly onlyFor?: string;
}

export const PERMISSIONS: readonly Permission[] = [
  {
    name: 'metadata',
    level: 'read',
    of: 'repository',
    reason: 'Names and IDs of repositories, which GitHub grants to every App.',
  },
  {
    name: 'members',
    level: 'read',
    of: 'organization',
    reason:
      "Developers' organization and team memberships: access files grant access by membership, and losing one ends a session.",
  },
  {
    name: 'organization_codespaces',
    level: 'read',
    of: 'organization',
    reason:
      "Which of the organization's Codespaces are running: the broker checks the Codespace before it opens a session, and ends the session when the Codespace stops.",
  },
  {
    name: 'actions',
    level: 'read',
    of: 'repository',
    reason: 'Whether a GitHub Actions job with a session is still running.',
    onlyFor: 'GitHub Actions jobs that join the mesh',
  },
];

/** The events that the App subscribes to. GitHub has no events about Codespaces, so the broker polls instead. */
export const GITHUB_APP_EVENTS: readonly string[] = [];

export interface AppManifestOptions {
  readonly name: string;
  /** The URL of the project or the broker, which is shown on the App's page. */
  readonly url: string;
  /** The URL to which GitHub redirects the browser with the code. */
  readonly redirectUrl: string;
}

/** Builds an App manifest, as described in GitHub's documentation, "Registering a GitHub App from a manifest". */
export function buildAppManifest({ name, url, redirectUrl }: AppManifestOptions) {
  return {
    name,
    url,
    redirect_url: redirectUrl,
    public: false,
    description: 'Gives the Meshpass broker read access to members, teams and Codespaces.',
    // GitHub requires the manifest to contain a webhook, so include an inactive one.
    hook_attributes: { url, active: false },
    default_events: GITHUB_APP_EVENTS,
    default_permissions: Object.fromEntries(PERMISSIONS.map(({ name, level }) => [name, level])),
  };
}
