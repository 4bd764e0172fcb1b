/** Whether the broker's ServiceAccount may do what it must, and nothing that it must never. */
import { type Finding, wrong } from '../doctor/line.ts';
import { type CheckContext, fine } from './context.ts';

export interface Right {
  readonly group: string;
  readonly resource: string;
  readonly verbs: readonly string[];
  /** Absent: in the whole cluster. */
  readonly where?: 'release' | 'root';
  readonly name?: string;
}

const AUDIT_CHECKPOINT: Right = {
  ...{ group: '', resource: 'configmaps', verbs: ['get', 'patch'], where: 'release' },
  name: 'meshpass-audit-checkpoint',
};

/** As in files/broker-rbac.yaml of the chart. Of `bind` the names are the installation's own. */
export const BROKER_RIGHTS: readonly Right[] = [
  { group: '', resource: 'serviceaccounts', verbs: ['create', 'delete', 'list'] },
  { group: '', resource: 'serviceaccounts/token', verbs: ['create'] },
  { group: '', resource: 'namespaces', verbs: ['create', 'delete', 'list', 'patch', 'watch'] },
  { group: '', resource: 'services', verbs: ['list', 'watch'] },
  { group: '', resource: 'pods', verbs: ['list', 'watch'] },
  {
    ...{ group: 'security.istio.io', resource: 'authorizationpolicies' },
    verbs: ['create', 'delete', 'list', 'patch', 'watch'],
  },
  { group: 'security.istio.io', resource: 'requestauthentications', verbs: ['list', 'watch'] },
  { group: 'security.istio.io', resource: 'peerauthentications', verbs: ['list', 'watch'] },
  { group: 'networking.istio.io', resource: 'envoyfilters', verbs: ['list'] },
  { group: 'networking.istio.io', resource: 'gateways', verbs: ['list'] },
  { group: 'networking.istio.io', resource: 'serviceentries', verbs: ['list'] },
  { group: 'networking.istio.io', resource: 'sidecars', verbs: ['create', 'delete', 'list', 'patch'] },
  { group: 'networking.istio.io', resource: 'virtualservices', verbs: ['list'] },
  { group: 'extensions.istio.io', resource: 'trafficextensions', verbs: ['list'] },
  { group: 'extensions.istio.io', resource: 'wasmplugins', verbs: ['list'] },
  { group: 'rbac.authorization.k8s.io', resource: 'rolebindings', verbs: ['create', 'delete', 'list', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterroles', verbs: ['list', 'watch'] },
  { group: 'authentication.k8s.io', resource: 'tokenreviews', verbs: ['create'] },
  {
    ...{ group: 'networking.istio.io', resource: 'gateways', verbs: ['create', 'delete', 'list', 'patch'] },
    where: 'release',
  },
  {
    ...{ group: 'security.istio.io', resource: 'requestauthentications', verbs: ['create', 'list', 'patch'] },
    where: 'root',
  },
  { group: '', resource: 'configmaps', verbs: ['list', 'watch'], where: 'root', name: 'istio-ca-root-cert' },
  { group: '', resource: 'pods', verbs: ['patch'], where: 'release' },
  AUDIT_CHECKPOINT,
];

/** With any of these, in the whole cluster or in a namespace of its own, whoever takes over the broker takes over more. */
export const NEVER: readonly Right[] = [
  { group: '', resource: 'secrets', verbs: ['get', 'list', 'watch'] },
  { group: '', resource: 'pods', verbs: ['create'] },
  { group: '', resource: 'pods/exec', verbs: ['create'] },
  { group: 'apps', resource: 'deployments', verbs: ['create', 'patch'] },
  { group: 'networking.istio.io', resource: 'envoyfilters', verbs: ['create', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings', verbs: ['create', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterroles', verbs: ['escalate'] },
  { group: 'admissionregistration.k8s.io', resource: 'validatingadmissionpolicies', verbs: ['delete', 'patch'] },
];

/** Rights that GitOps needs less of: what is not written is not to be writable. */
const WRITTEN_BY_OTHERS: readonly string[] = [
  ...['rolebindings', 'sidecars', 'namespaces', 'gateways', 'authorizationpolicies'],
];
const READS: readonly string[] = ['get', 'list', 'watch'];

/** As in files/broker-rbac-gitops.yaml. */
export const GITOPS_RIGHTS: readonly Right[] = [
  ...BROKER_RIGHTS.flatMap(withoutWriting),
  {
    ...{ group: 'security.istio.io', resource: 'authorizationpolicies', verbs: ['create', 'delete', 'list', 'patch'] },
    where: 'root',
  },
];

/** Asks the API server (SubjectAccessReview), which knows every binding and every other authorizer. */
export async function checkRights(context: CheckContext): Promise<readonly Finding[]> {
  const user = `system:serviceaccount:${context.namespace}:meshpass-broker`;
  const wanted = context.gitops ? GITOPS_RIGHTS : BROKER_RIGHTS;
  const [missing, excess] = await Promise.all([
    questions(wanted).then((all) => all.filter(({ allowed }) => !allowed)),
    questions(NEVER.flatMap(everywhere)).then((all) => widest(all.filter(({ allowed }) => allowed))),
  ]);
  const findings = [
    ...missing.map(({ right, verb, namespace }) =>
      wrong('rights', `The broker may not ${verb} ${nameOf(right)}${placeOf(namespace)}.`, {
        seen: `kubectl auth can-i ${asked(right, verb, namespace)} --as ${user}: no`,
        next: 'Apply the rights of the chart again; Argo CD and Flux: synchronise.',
        command: `helm upgrade meshpass CHART --namespace ${context.namespace} --reset-then-reuse-values`,
      }),
    ),
    ...excess.map(({ right, verb, namespace }) =>
      wrong(
        'rights',
        `The broker may ${verb} ${nameOf(right)}${placeOf(namespace)}, and must not: somebody has given it more rights.`,
        {
          seen: `kubectl auth can-i ${asked(right, verb, namespace)} --as ${user}: yes`,
          next: 'Find the binding that gives it, and remove it.',
          command: `kubectl get rolebindings,clusterrolebindings -A -o json | jq '.items[] | select(.subjects[]?.name == "meshpass-broker") | .metadata | {namespace, name}'`,
        },
      ),
    ),
  ];
  if (findings.length > 0) return findings;
  return [fine('rights', `${user} may do what it must, and nothing of what it must not.`, 'SubjectAccessReview')];

  async function questions(rights: readonly Right[]) {
    return await Promise.all(
      rights.flatMap((right) =>
        right.verbs.map(async (verb) => {
          const namespace = right.where && { release: context.namespace, root: context.rootNamespace }[right.where];
          return { right, verb, namespace, allowed: await isAllowed(context, user, right, verb, namespace) };
        }),
      ),
    );
  }
}

/** A Role in the namespace with the broker's keys, or with istiod's, gives what no question about the whole cluster finds. */
function everywhere(right: Right): readonly Right[] {
  return [right, { ...right, where: 'release' }, { ...right, where: 'root' }];
}

/** What is given in the whole cluster is not told again of each namespace. */
function widest<T extends { right: Right; verb: string }>(given: readonly T[]): readonly T[] {
  const of = ({ right, verb }: T) => `${verb} ${right.group}/${right.resource}`;
  const whole = new Set(given.filter(({ right }) => right.where === undefined).map(of));
  return given.filter((one) => one.right.where === undefined || !whole.has(of(one)));
}

function withoutWriting(right: Right): readonly Right[] {
  if (!WRITTEN_BY_OTHERS.includes(right.resource)) return [right];
  const verbs = right.verbs.filter((verb) => READS.includes(verb));
  return verbs.length === 0 ? [] : [{ ...right, verbs }];
}

async function isAllowed(
  { http }: CheckContext,
  user: string,
  { group, resource, name }: Right,
  verb: string,
  namespace: string | undefined,
): Promise<boolean> {
  const [plural, subresource] = resource.split('/');
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${user.split(':')[2]}`, 'system:authenticated'];
  const resourceAttributes = {
    ...{ group, resource: plural, verb },
    ...(subresource && { subresource }),
    ...(name && { name }),
    ...(namespace && { namespace }),
  };
  const { body } = await http.call({
    ...{ method: 'POST', path: '/apis/authorization.k8s.io/v1/subjectaccessreviews' },
    body: {
      ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview' },
      spec: { user, groups, resourceAttributes },
    },
  });
  return (body as { status?: { allowed?: boolean } }).status?.allowed === true;
}

function nameOf({ group, resource, name }: Right): string {
  const of = group === '' ? resource : `${resource}.${group}`;
  return name ? `${of} ${name}` : of;
}

function placeOf(namespace: string | undefined): string {
  return namespace === undefined ? '' : ` in ${namespace}`;
}

function asked({ group, resource, name }: Right, verb: string, namespace: string | undefined): string {
  const [plural, subresource] = resource.split('/');
  const of = group === '' ? plural : `${plural}.${group}`;
  return [
    `${verb} ${name ? `${of}/${name}` : of}`,
    ...(subresource ? [`--subresource ${subresource}`] : []),
    namespace ? `-n ${namespace}` : '-A',
  ].join(' ');
}
