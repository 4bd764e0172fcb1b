/** What the GitHub App of a broker may do, each with its reason. It has no webhook and hears of no events. */

export interface Permission {
  readonly name: string;
  readonly level: 'read';
  readonly of: 'organization' | 'repository';
  readonly reason: string;
  /** What fails without it; a permission without one is needed by everybody. */
  readonly onlyFor?: string;
}

export const PERMISSIONS: readonly Permission[] = [
  {
    ...{ name: 'metadata', level: 'read', of: 'repository' },
    reason: 'GitHub gives it to every App: names and ids of repositories.',
  },
  {
    ...{ name: 'members', level: 'read', of: 'organization' },
    reason:
      'Whether a developer is a member, and of which teams: what access files grant by, and what ends a session when it is lost.',
  },
  {
    ...{ name: 'organization_codespaces', level: 'read', of: 'organization' },
    reason:
      'Which Codespaces of the organization run: the broker confirms one before it opens a session, and ends the session when it stops.',
  },
  {
    ...{ name: 'actions', level: 'read', of: 'repository' },
    reason: 'Whether a job of GitHub Actions that holds a session still runs.',
    onlyFor: 'jobs of GitHub Actions that join the mesh',
  },
];

/** Events that the App subscribes to: GitHub has none about Codespaces, so the broker asks. */
export const EVENTS: readonly string[] = [];

export interface ManifestOptions {
  readonly name: string;
  /** Of the project or the broker: shown on the App's page. */
  readonly url: string;
  /** Where GitHub sends the browser with the code. */
  readonly redirectUrl: string;
}

/** As GitHub takes it ("Registering a GitHub App from a manifest"). */
export function manifest({ name, url, redirectUrl }: ManifestOptions) {
  return {
    ...{ name, url, redirect_url: redirectUrl, public: false },
    description: 'Read by the Meshpass broker: members, teams and Codespaces.',
    // A manifest must name a webhook; none is delivered.
    hook_attributes: { url, active: false },
    default_events: EVENTS,
    default_permissions: Object.fromEntries(PERMISSIONS.map(({ name, level }) => [name, level])),
  };
}
