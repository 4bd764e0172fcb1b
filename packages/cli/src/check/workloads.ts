/** Whether the chart's Deployments are there and run, and what keeps their Pods from it. */
import { plainText } from '@meshpass/identity/text';
import { type Finding, wrong } from '../doctor/line.ts';
import { type CheckContext, fine, list, read, type Seen } from './context.ts';

const WORKLOADS = ['broker', 'edge', 'gateway'] as const;
const LONGEST = 300;
/** How commands say why they end, among lines of JSON. */
const FAREWELL = /^meshpass: .+$/gm;

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

function missing(namespace: string, name: string): Finding {
  return wrong('workloads', `There is no Deployment ${name} in ${namespace}.`, {
    seen: `kubectl -n ${namespace} get deployment ${name}`,
    next: 'Install the chart, or name its namespace with --namespace.',
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
    return wrong('workloads', `${name} is scaled to 0: none runs.`, {
      seen,
      next: 'Scale it up; an autoscaler leaves a Deployment alone that is scaled to 0.',
      command: `kubectl -n ${namespace} scale deployment ${name} --replicas ${part === 'broker' ? 1 : 2}`,
    });
  if (ready >= wanted) return fine('workloads', `${name}: ${ready} of ${wanted} ready.`, seen);
  // Who may not look at Pods or events still learns that they are not ready.
  const { why, hasStarted } = await reasonOf(context, part).catch((): Reason => ({ hasStarted: false }));
  const labels = `app.kubernetes.io/name=meshpass,app.kubernetes.io/component=${part}`;
  return wrong('workloads', `${name}: ${ready} of ${wanted} ready${why === undefined ? '' : `; ${why}`}.`, {
    seen,
    ...(hasStarted
      ? { next: 'Its log says why.', command: `kubectl -n ${namespace} logs -l ${labels} --prefix --tail 5` }
      : { next: 'Its Pods say why.', command: `kubectl -n ${namespace} describe pods -l ${labels}` }),
  });
}

interface Reason {
  readonly why?: string;
  /** Then Kubernetes has given it all that it needs, and only its own log says more. */
  readonly hasStarted: boolean;
}

/** Of the first Pod that waits for something, an image, a Secret, a node, or that has ended; else whether one runs and is not ready. */
async function reasonOf({ http, namespace }: CheckContext, part: string): Promise<Reason> {
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
    const said = unscheduled?.message ?? (await mountFailure(http, namespace, metadata.name)) ?? waiting?.message;
    const why = said ?? (waiting?.reason === 'ContainerCreating' ? undefined : waiting?.reason);
    const hasEnded = containers.some((one) => one.lastState?.terminated);
    if (why !== undefined) return { why: oneLine(String(why).split('\n')[0]!), hasStarted: hasEnded };
    hasStarted ||= containers.some((one) => one.state?.running && !one.ready);
  }
  return { hasStarted };
}

/** From the end of its log, which the kubelet keeps of a container that fails (`terminationMessagePolicy` of the chart). */
function lastWords({ state, lastState, ready }: Seen): string | undefined {
  const said: unknown = (state?.terminated ?? lastState?.terminated)?.message;
  return ready || typeof said !== 'string' ? undefined : said.match(FAREWELL)?.at(-1);
}

function oneLine(text: string): string {
  return plainText(text.slice(0, LONGEST)).replace(/\.$/, '');
}

/** Only an event has it: a Secret or ConfigMap that is not there. */
async function mountFailure(http: CheckContext['http'], namespace: string, pod: string): Promise<string | undefined> {
  const fieldSelector = `involvedObject.name=${pod},reason=FailedMount`;
  const path = `/api/v1/namespaces/${namespace}/events`;
  const { body } = await http.call({ method: 'GET', path, query: { fieldSelector, limit: '5' } });
  const events = (body as { items?: readonly Seen[] }).items ?? [];
  return events.map(({ message }) => /(?:secret|configmap) "[^"]+" not found/.exec(String(message))?.[0]).find(Boolean);
}
