/** Permissions of a broker's GitHub App, each with a reason. The App has no webhook and receives no events. */

export interface Permission {
  readonly name: string;
  readonly level: 'read';
  readonly of: 'organization' | 'repository';
  readonly reason: string;
  /** Feature that needs it; absent for permissions that every broker needs. */
  readonly onlyFor?: string;
}

export const PERMISSIONS: readonly Permission[] = [
  {
    name: 'metadata',
    level: 'read',
    of: 'repository',
    reason: 'GitHub grants this to every App: names and ids of repositories.',
  },
  {
    name: 'members',
    level: 'read',
    of: 'organization',
    reason:
      'Organization and team memberships of developers: access files grant by them, and losing one ends a session.',
  },
  {
    name: 'organization_codespaces',
    level: 'read',
    of: 'organization',
    reason:
      'Which Codespaces of the organization run: the broker confirms one before it opens a session, and ends the session when it stops.',
  },
  {
    name: 'actions',
    level: 'read',
    of: 'repository',
    reason: 'Whether a GitHub Actions job with a session still runs.',
    onlyFor: 'jobs of GitHub Actions that join the mesh',
  },
];

/** Events that the App subscribes to. GitHub has none about Codespaces, so the broker polls. */
export const EVENTS: readonly string[] = [];

export interface ManifestOptions {
  readonly name: string;
  /** URL of the project or the broker, shown on the App's page. */
  readonly url: string;
  /** URL to which GitHub redirects the browser with the code. */
  readonly redirectUrl: string;
}

/** Builds a manifest in GitHub's format ("Registering a GitHub App from a manifest"). */
export function manifest({ name, url, redirectUrl }: ManifestOptions) {
  return {
    name,
    url,
    redirect_url: redirectUrl,
    public: false,
    description: 'Read by the Meshpass broker: members, teams and Codespaces.',
    // A manifest must name a webhook; this one is inactive.
    hook_attributes: { url, active: false },
    default_events: EVENTS,
    default_permissions: Object.fromEntries(PERMISSIONS.map(({ name, level }) => [name, level])),
  };
}
