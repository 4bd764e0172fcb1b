/** JSON bodies in the shapes of GitHub's published OpenAPI description (checked against it in the tests). */
import { type Account, accountById, type Codespace, type Repository, type State, type Team } from './state.ts';

export const BORN = '2021-03-04T05:06:07Z';

/** `api`: where this API is reached; `web`: where people would be. */
export interface Base {
  readonly api: string;
  readonly web: string;
}

export const nodeId = (kind: string, id: number) => Buffer.from(`0${kind.length}:${kind}${id}`).toString('base64');

export function simpleUser(account: Account, { api, web }: Base) {
  const url = `${api}/users/${account.login}`;
  return {
    login: account.login,
    id: account.id,
    node_id: nodeId(account.type, account.id),
    avatar_url: `${web}/avatars/u/${account.id}`,
    gravatar_id: '',
    url,
    html_url: `${web}/${account.login}`,
    followers_url: `${url}/followers`,
    following_url: `${url}/following{/other_user}`,
    gists_url: `${url}/gists{/gist_id}`,
    starred_url: `${url}/starred{/owner}{/repo}`,
    subscriptions_url: `${url}/subscriptions`,
    organizations_url: `${url}/orgs`,
    repos_url: `${url}/repos`,
    events_url: `${url}/events{/privacy}`,
    received_events_url: `${url}/received_events`,
    type: account.type,
    user_view_type: 'public',
    site_admin: false,
  };
}

export function publicUser(account: Account, base: Base) {
  return {
    ...simpleUser(account, base),
    name: account.login,
    company: null,
    blog: '',
    location: null,
    email: account.email ?? null,
    notification_email: account.email ?? null,
    hireable: null,
    bio: null,
    twitter_username: null,
    public_repos: 0,
    public_gists: 0,
    followers: 0,
    following: 0,
    created_at: BORN,
    updated_at: BORN,
  };
}

export function minimalRepository(repository: Repository, state: State, base: Base) {
  const owner = accountById(state, repository.ownerId);
  const fullName = `${owner.login}/${repository.name}`;
  const url = `${base.api}/repos/${fullName}`;
  return {
    id: repository.id,
    node_id: nodeId('Repository', repository.id),
    name: repository.name,
    full_name: fullName,
    private: true,
    owner: simpleUser(owner, base),
    html_url: `${base.web}/${fullName}`,
    description: null,
    fork: false,
    url,
    archive_url: `${url}/{archive_format}{/ref}`,
    assignees_url: `${url}/assignees{/user}`,
    blobs_url: `${url}/git/blobs{/sha}`,
    branches_url: `${url}/branches{/branch}`,
    collaborators_url: `${url}/collaborators{/collaborator}`,
    comments_url: `${url}/comments{/number}`,
    commits_url: `${url}/commits{/sha}`,
    compare_url: `${url}/compare/{base}...{head}`,
    contents_url: `${url}/contents/{+path}`,
    contributors_url: `${url}/contributors`,
    deployments_url: `${url}/deployments`,
    downloads_url: `${url}/downloads`,
    events_url: `${url}/events`,
    forks_url: `${url}/forks`,
    git_commits_url: `${url}/git/commits{/sha}`,
    git_refs_url: `${url}/git/refs{/sha}`,
    git_tags_url: `${url}/git/tags{/sha}`,
    hooks_url: `${url}/hooks`,
    issue_comment_url: `${url}/issues/comments{/number}`,
    issue_events_url: `${url}/issues/events{/number}`,
    issues_url: `${url}/issues{/number}`,
    keys_url: `${url}/keys{/key_id}`,
    labels_url: `${url}/labels{/name}`,
    languages_url: `${url}/languages`,
    merges_url: `${url}/merges`,
    milestones_url: `${url}/milestones{/number}`,
    notifications_url: `${url}/notifications{?since,all,participating}`,
    pulls_url: `${url}/pulls{/number}`,
    releases_url: `${url}/releases{/id}`,
    stargazers_url: `${url}/stargazers`,
    statuses_url: `${url}/statuses/{sha}`,
    subscribers_url: `${url}/subscribers`,
    subscription_url: `${url}/subscription`,
    tags_url: `${url}/tags`,
    teams_url: `${url}/teams`,
    trees_url: `${url}/git/trees{/sha}`,
    default_branch: 'main',
    visibility: 'private',
  };
}

export function fullRepository(repository: Repository, state: State, base: Base) {
  const minimal = minimalRepository(repository, state, base);
  const web = `${base.web}/${minimal.full_name}`;
  return {
    ...minimal,
    clone_url: `${web}.git`,
    git_url: `git:${web.slice('https:'.length)}.git`,
    ssh_url: `git@github.com:${minimal.full_name}.git`,
    svn_url: web,
    mirror_url: null,
    homepage: null,
    language: 'TypeScript',
    license: null,
    forks: 0,
    forks_count: 0,
    stargazers_count: 0,
    watchers: 0,
    watchers_count: 0,
    size: 0,
    open_issues: 0,
    open_issues_count: 0,
    network_count: 0,
    subscribers_count: 0,
    has_discussions: false,
    has_downloads: true,
    has_issues: true,
    has_pages: false,
    has_projects: true,
    has_wiki: true,
    archived: false,
    disabled: false,
    is_template: false,
    created_at: BORN,
    pushed_at: BORN,
    updated_at: BORN,
    permissions: { admin: false, maintain: false, push: true, triage: true, pull: true },
  };
}

export function codespace(space: Codespace, state: State, base: Base) {
  const url = `${base.api}/user/codespaces/${space.name}`;
  const repository = state.repositories.find((candidate) => candidate.id === space.repositoryId)!;
  return {
    id: space.id,
    name: space.name,
    display_name: space.name,
    environment_id: space.environmentId,
    owner: simpleUser(accountById(state, space.ownerId), base),
    billable_owner: simpleUser(accountById(state, space.billableOwnerId), base),
    repository: minimalRepository(repository, state, base),
    machine: {
      name: 'standardLinux32gb',
      display_name: '4 cores, 16 GB RAM, 32 GB storage',
      operating_system: 'linux',
      storage_in_bytes: 34359738368,
      memory_in_bytes: 17179869184,
      cpus: 4,
      prebuild_availability: space.prebuild ? 'ready' : 'none',
    },
    devcontainer_path: '.devcontainer/devcontainer.json',
    prebuild: space.prebuild,
    created_at: space.createdAt,
    updated_at: space.lastUsedAt,
    last_used_at: space.lastUsedAt,
    state: space.state,
    url,
    git_status: { ahead: 0, behind: 0, has_unpushed_changes: false, has_uncommitted_changes: false, ref: space.ref },
    location: 'WestEurope',
    idle_timeout_minutes: 30,
    web_url: `https://${space.name}.github.dev`,
    machines_url: `${url}/machines`,
    start_url: `${url}/start`,
    stop_url: `${url}/stop`,
    pulls_url: null,
    recent_folders: [],
    retention_period_minutes: 43200,
    retention_expires_at: null,
  };
}

export function organizationSimple(account: Account, { api, web }: Base) {
  const url = `${api}/orgs/${account.login}`;
  return {
    login: account.login,
    id: account.id,
    node_id: nodeId('Organization', account.id),
    url,
    repos_url: `${url}/repos`,
    events_url: `${url}/events`,
    hooks_url: `${url}/hooks`,
    issues_url: `${url}/issues`,
    members_url: `${url}/members{/member}`,
    public_members_url: `${url}/public_members{/member}`,
    avatar_url: `${web}/avatars/u/${account.id}`,
    description: null,
  };
}

export function teamFull(team: Team, state: State, base: Base) {
  const organization = accountById(state, team.organizationId);
  const url = `${base.api}/organizations/${organization.id}/team/${team.id}`;
  return {
    id: team.id,
    node_id: nodeId('Team', team.id),
    url,
    html_url: `${base.web}/orgs/${organization.login}/teams/${team.slug}`,
    name: team.slug,
    slug: team.slug,
    description: null,
    privacy: 'closed',
    notification_setting: 'notifications_enabled',
    permission: 'pull',
    type: 'organization',
    members_url: `${url}/members{/member}`,
    repositories_url: `${url}/repos`,
    parent: null,
    members_count: Object.keys(team.members).length,
    repos_count: 0,
    created_at: BORN,
    updated_at: BORN,
    organization: {
      ...organizationSimple(organization, base),
      has_organization_projects: true,
      has_repository_projects: true,
      public_repos: 0,
      public_gists: 0,
      followers: 0,
      following: 0,
      html_url: `${base.web}/${organization.login}`,
      type: 'Organization',
      created_at: BORN,
      updated_at: BORN,
      archived_at: null,
    },
  };
}
