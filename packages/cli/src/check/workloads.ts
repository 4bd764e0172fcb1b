/**
 * Checks that the chart's Deployments exist and are running. If their Pods are not ready, it finds out why. Before an
 * installation, checks whether Meshpass is already installed.
 */
import { pageUrl, plainText } from '@meshpass/identity';
import { type Finding, misconfigured, ok } from '../diagnosis/finding.ts';
import { type CheckContext, list, read, type Seen } from './context.ts';

const WORKLOADS = ['broker', 'edge', 'gateway'] as const;
const LONGEST = 300;
/** Matches the plain-text line in which a command explains why it exited. All other log lines are JSON. */
const FAREWELL = /^meshpass: .+$/gm;

/** Checks each of the chart's Deployments. */
export async function checkWorkloads(context: CheckContext): Promise<readonly Finding[]> {
  const { http, namespace } = context;
  return await Promise.all(
    WORKLOADS.map(async (part) => {
      const name = `meshpass-${part}`;
      const deployment = await read(http, `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`);
      return deployment ? await judge(context, part, deployment) : missing(namespace, name);
    }),
  );
}

/** Checks whether the broker's ClusterRoleBinding already exists. Its name does not depend on the release namespace. */
export async function checkRelease({ http, namespace }: CheckContext): Promise<Finding> {
  const binding = await read(http, '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/meshpass-broker');
  const seen = 'kubectl get clusterrolebinding meshpass-broker -o yaml';
  if (!binding) return ok('Meshpass is not installed.', seen);
  const other: string = binding.subjects?.[0]?.namespace ?? 'an unknown namespace';
  const version = binding.metadata.labels?.['app.kubernetes.io/version'] ?? '(unknown version)';
  if (other === namespace) return ok(`Meshpass ${version} is installed in ${namespace}: this is an upgrade.`, seen);
  return misconfigured(`Meshpass ${version} is already installed in ${other}; a cluster can have only one.`, {
    seen,
    next: `Pass its namespace as --namespace to upgrade it, or remove it: ${pageUrl('docs/install/removal.md')}.`,
    command: `helm list --all-namespaces --filter meshpass`,
  });
}

function missing(namespace: string, name: string): Finding {
  return misconfigured(`Deployment ${name} does not exist in ${namespace}.`, {
    seen: `kubectl -n ${namespace} get deployment ${name}`,
    next: 'Install the chart, or pass its namespace as --namespace.',
    command: `helm list --all-namespaces --filter meshpass`,
  });
}

async function judge(context: CheckContext, part: string, { metadata, spec, status }: Seen): Promise<Finding> {
  const { namespace } = context;
  const { name } = metadata;
  const seen = `kubectl -n ${namespace} get deployment ${name}`;
  const wanted: number = spec?.replicas ?? 1;
  const ready: number = status?.readyReplicas ?? 0;
  if (wanted === 0)
    return misconfigured(`${name} is scaled to 0, so no Pod runs.`, {
      seen,
      next: 'Scale it up. An autoscaler does not change a Deployment that is scaled to 0.',
      command: `kubectl -n ${namespace} scale deployment ${name} --replicas ${part === 'broker' ? 1 : 2}`,
    });
  if (ready >= wanted) return ok(`${name}: ${ready} of ${wanted} ready.`, seen);
  // If this user may not read Pods or events, the finding still reports that the Deployment is not ready.
  const { why, hasStarted } = await reasonOf(context, part).catch((): Reason => ({ hasStarted: false }));
  const labels = `app.kubernetes.io/name=meshpass,app.kubernetes.io/component=${part}`;
  return misconfigured(`${name}: ${ready} of ${wanted} ready${why === undefined ? '' : `; ${why}`}.`, {
    seen,
    ...(hasStarted
      ? { next: 'Check its log.', command: `kubectl -n ${namespace} logs -l ${labels} --prefix --tail 5` }
      : { next: 'Check its Pods.', command: `kubectl -n ${namespace} describe pods -l ${labels}` }),
  });
}

interface Reason {
  readonly why?: string;
  /**
   * Whether a container has started. If it has, Kubernetes has provided everything that the Pod needs, so only the log
   * can explain the failure.
   */
  readonly hasStarted: boolean;
}

/**
 * Finds out why a Deployment is not ready. Returns the reason from the first Pod that is waiting (for an image, a
 * Secret or a node) or has exited. If there is no such Pod, it only reports whether a container is running but not
 * ready.
 */
async function reasonOf(context: CheckContext, part: string): Promise<Reason> {
  const { http, namespace } = context;
  const pods = await list(http, `/api/v1/namespaces/${namespace}/pods`, {
    'app.kubernetes.io/name': 'meshpass',
    'app.kubernetes.io/component': part,
  });
  let hasStarted = false;
  for (const { metadata, status } of pods) {
    const containers: readonly Seen[] = status?.containerStatuses ?? [];
    const isScheduled = (one: { type: string; status: string }) => one.type === 'PodScheduled' && one.status !== 'True';
    const unscheduled = status?.conditions?.find(isScheduled);
    const waiting = containers.find((one) => one.state?.waiting)?.state.waiting;
    const ended = containers.map(lastWords).find(Boolean);
    if (ended !== undefined) return { why: oneLine(ended), hasStarted: true };
    const isMounted = containers.some(
      ({ state, lastState }) => state?.running ?? state?.terminated ?? lastState?.terminated,
    );
    const unmounted = isMounted ? undefined : await mountFailure(context, metadata.name);
    const said = unscheduled?.message ?? unmounted ?? waiting?.message;
    const why = said ?? (waiting?.reason === 'ContainerCreating' ? undefined : waiting?.reason);
    const hasEnded = containers.some((one) => one.lastState?.terminated);
    if (why !== undefined) return { why: oneLine(String(why).split('\n')[0]!), hasStarted: hasEnded };
    hasStarted ||= containers.some((one) => one.state?.running && !one.ready);
  }
  return { hasStarted };
}

/**
 * Returns the last explanation that a failed container logged. Because the chart sets `terminationMessagePolicy`, the
 * kubelet keeps the end of the log.
 */
function lastWords({ state, lastState, ready }: Seen): string | undefined {
  const said: unknown = (state?.terminated ?? lastState?.terminated)?.message;
  return ready || typeof said !== 'string' ? undefined : said.match(FAREWELL)?.at(-1);
}

function oneLine(text: string): string {
  return plainText(text.slice(0, LONGEST)).replace(/\.$/, '');
}

/**
 * The maximum age of an event to consider. The kubelet retries at least every two minutes, so the cause of an older
 * event may already have been fixed.
 */
const LATEST_MS = 5 * 60_000;
/** Requests only the metadata of an object, so that the contents of a Secret are never read. */
const METADATA_ONLY = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

/**
 * Looks for a missing Secret, ConfigMap or key that prevents a Pod from starting. This is only reported by events,
 * which remain for an hour even if the cause has been fixed.
 */
async function mountFailure(context: CheckContext, pod: string): Promise<string | undefined> {
  const { http, namespace, now } = context;
  const fieldSelector = `involvedObject.name=${pod},reason=FailedMount`;
  const path = `/api/v1/namespaces/${namespace}/events`;
  const { body } = await http.call({ method: 'GET', path, query: { fieldSelector, limit: '100' } });
  const events = ((body as { items?: readonly Seen[] }).items ?? [])
    .map(({ message, lastTimestamp, eventTime }) => ({
      said: MOUNT_FAILURE.exec(String(message)),
      at: Date.parse(lastTimestamp ?? eventTime),
    }))
    .toSorted((one, other) => other.at - one.at);
  for (const { said, at } of events) {
    const isLatest = now() - at < LATEST_MS;
    if (said && (await isMissing(context, said.groups!, isLatest))) return said[0];
  }
  return undefined;
}

const MOUNT_FAILURE =
  /(?<kind>secret|configmap) "(?<name>[^"]+)" not found|references non-existent (?:secret|config) key: [\w.-]+/;

/**
 * Whether the object that an event refers to is still missing.
 * @param isLatest whether the event is recent, which is returned if the object has no name or cannot be read
 */
async function isMissing(
  { http, namespace }: CheckContext,
  { kind, name }: Readonly<Record<string, string | undefined>>,
  isLatest: boolean,
): Promise<boolean> {
  if (name === undefined) return isLatest;
  const path = `/api/v1/namespaces/${namespace}/${kind}s/${encodeURIComponent(name)}`;
  try {
    const { status } = await http.call({ method: 'GET', path, accept: METADATA_ONLY, expect: [404] });
    return status === 404;
  } catch {
    return isLatest;
  }
}
