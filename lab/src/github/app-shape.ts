/** JSON bodies about Apps and jobs, in the shapes of GitHub's published OpenAPI description (checked against it in the tests). */
import { type Base, BORN, nodeId, simpleUser } from './shape.ts';
import { type App, accountById, type Job, type State } from './state.ts';

export function integration(app: App, state: State, base: Base) {
  return {
    id: app.id,
    client_id: app.clientId,
    slug: app.slug,
    node_id: nodeId('Integration', app.id),
    owner: simpleUser(accountById(state, app.ownerId), base),
    name: app.slug,
    description: null,
    external_url: 'https://broker.test',
    html_url: `${base.web}/apps/${app.slug}`,
    created_at: BORN,
    updated_at: BORN,
    permissions: app.permissions,
    events: [],
    installations_count: app.installations.length,
  };
}

export function installation(entry: App['installations'][number], state: State, base: Base) {
  const account = accountById(state, entry.accountId);
  return {
    id: entry.id,
    client_id: state.app.clientId,
    account: simpleUser(account, base),
    repository_selection: 'all',
    access_tokens_url: `${base.api}/app/installations/${entry.id}/access_tokens`,
    repositories_url: `${base.api}/installation/repositories`,
    html_url: `${base.web}/organizations/${account.login}/settings/installations/${entry.id}`,
    app_id: state.app.id,
    app_slug: state.app.slug,
    target_id: account.id,
    target_type: account.type,
    permissions: state.app.permissions,
    events: [],
    created_at: BORN,
    updated_at: BORN,
    single_file_name: null,
    has_multiple_single_files: false,
    single_file_paths: [],
    suspended_by: entry.suspended ? simpleUser(account, base) : null,
    suspended_at: entry.suspended ? BORN : null,
  };
}

export function workflowJob(job: Job, state: State, base: Base) {
  const repository = state.repositories.find(({ id }) => id === job.repositoryId)!;
  const fullName = `${accountById(state, repository.ownerId).login}/${repository.name}`;
  const at = `${base.api}/repos/${fullName}`;
  const isOver = job.status === 'completed';
  return {
    id: job.id,
    run_id: job.runId,
    run_attempt: job.runAttempt,
    run_url: `${at}/actions/runs/${job.runId}`,
    node_id: nodeId('CheckRun', job.id),
    head_sha: '0'.repeat(40),
    url: `${at}/actions/jobs/${job.id}`,
    html_url: `${base.web}/${fullName}/actions/runs/${job.runId}/job/${job.id}`,
    status: job.status,
    conclusion: isOver ? 'success' : null,
    created_at: BORN,
    started_at: BORN,
    completed_at: isOver ? BORN : null,
    name: 'test',
    steps: [],
    check_run_url: `${at}/check-runs/${job.id}`,
    labels: ['ubuntu-latest'],
    runner_id: 1,
    runner_name: 'GitHub Actions 1',
    runner_group_id: 1,
    runner_group_name: 'GitHub Actions',
    workflow_name: 'CI',
    head_branch: 'main',
  };
}
