/**
 * Checks the access file and the services that it grants access to. Each service needs a declared protocol, a sidecar,
 * and STRICT mutual TLS.
 */
import { type Access, type AccessFileProblem, checkKnownRoles, formatPlace } from '@meshpass/access';
import { meshOf, type ResolvedTarget, resolveAccess } from '@meshpass/access/compile';
import { whyNotGrantable } from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity';
import {
  findMeshConfig,
  isCaptured,
  type MeshView,
  namespaceInjection,
  type PodWorkload,
  peerModes,
  peerModesOf,
  selects,
  targetPortOf,
  viewMesh,
  whyNoSidecar,
} from '@meshpass/istio';
import { type Finding, failed, misconfigured, ok, skipped, unknown, warning } from '../../diagnosis/finding.ts';
import { readObjects } from '../../input/cluster-manifests.ts';
import { readAccessFile } from '../../input/policy-input.ts';
import type { CheckContext } from '../context.ts';

/**
 * Checks the access file the way a broker of this version would, and then checks each granted port.
 * @param file the path to the access file. If it is undefined, only the mesh-wide mTLS mode is checked
 * @param clusterDomain the DNS domain of the cluster
 */
export async function checkAccess(
  cluster: CheckContext,
  file: string | undefined,
  clusterDomain: string,
): Promise<readonly Finding[]> {
  const read = file === undefined ? undefined : readAccess(file);
  if (read instanceof MeshpassError)
    return [...problemsOf(read), ofServices(skipped('Not reached: the access file was rejected.'))];
  const { resources, problems } = await readObjects(cluster.http);
  const config = { ...findMeshConfig(resources), rootNamespace: cluster.rootNamespace };
  const view = viewMesh(resources, config);
  const misread = problems.map(({ place, message }) => unknown(`Cannot interpret ${place.file}: ${message}`));
  if (!read)
    return [
      skipped('Pass --access to check the services that it grants.'),
      ...[...misread, ofMesh(view)].map(ofServices),
    ];
  const { trustDomain, rootNamespace } = config;
  const mesh = meshOf(resources, { trustDomain, rootNamespace, clusterDomain, gateway: cluster.gateway });
  const { grants, problems: refused, leftOut } = resolveAccess(read, mesh);
  const targets = new Map(grants.flatMap((grant) => grant.targets.map((target) => [target.sni, target])));
  const found = [...targets.values()].map((target) => judge(view, target));
  const count = found.filter(({ state }) => state === 'ok').length;
  const declare = count === 1 ? 'port declares its' : 'ports declare their';
  const services = [
    ...refused.map(ofProblem),
    ...leftOut.map(({ place, message }) => ({ ...warning(message), place: formatPlace(place) })),
    ...misread,
    ...found.filter(({ state }) => state !== 'ok'),
    ...(count > 0 ? [ok(`${count} granted ${declare} protocol, with sidecars in STRICT mode.`)] : []),
  ];
  return [ok(`${file} is well-formed.`), ...services.map(ofServices)];
}

/** Names a finding about the granted services rather than about the access file. */
function ofServices(finding: Finding): Finding {
  return { ...finding, check: 'services' };
}

function readAccess(file: string): Access | MeshpassError {
  try {
    const access = readAccessFile(file);
    checkKnownRoles(access);
    return access;
  } catch (thrown) {
    if (thrown instanceof MeshpassError) return thrown;
    throw thrown;
  }
}

/** Returns a finding for each problem in a rejected access file. */
function problemsOf(error: MeshpassError): readonly Finding[] {
  const problems = error.detail.problems as readonly AccessFileProblem[] | undefined;
  return problems?.map(ofProblem) ?? [failed(error)];
}

function ofProblem({ code, message, place }: AccessFileProblem): Finding {
  return { ...failed(new MeshpassError(code, message)), place: formatPlace(place) };
}

/** Checks the mTLS mode of workloads that have no PeerAuthentication of their own. */
function ofMesh(view: MeshView): Finding {
  const { rootNamespace } = view.config;
  const policies = view.all('PeerAuthentication');
  const workload = { namespace: rootNamespace, labels: {}, kind: 'sidecar' } as const;
  const { mode } = peerModes(policies, workload, rootNamespace).general;
  const others = policies.filter(({ metadata }) => metadata.namespace !== rootNamespace).length;
  const seen = 'kubectl get peerauthentications --all-namespaces';
  if (mode === 'STRICT' && others === 0) return ok('Mutual TLS is STRICT mesh-wide.', seen);
  const rest = mode === 'STRICT' ? `, and ${others} namespace-level PeerAuthentications may differ` : '';
  return unknown(`Mutual TLS is ${mode} by default${rest}; granted services require STRICT.`, {
    seen,
    next: 'Pass --access to check the services that it grants.',
  });
}

/** Checks the running Pods behind a granted port. */
function judge(view: MeshView, { service, port }: ResolvedTarget): Finding {
  const name = `${service.name}.${service.namespace}:${port.port}`;
  const pods = view.podsIn(service.namespace).filter((pod) => pod.running && selects(service.selector, pod.labels));
  const seen = `kubectl -n ${service.namespace} get pods --show-labels`;
  if (pods.length === 0)
    return unknown(`${name} has no Pods, so its sidecar and mTLS mode cannot be checked.`, { seen });
  return (
    pods.map((pod) => against(view, name, pod, targetPortOf(pod.portNames, port))).find((one) => one !== undefined) ??
    ok(`${name} has sidecars in STRICT mode.`, seen)
  );
}

function against(view: MeshView, name: string, pod: PodWorkload, port: number | undefined): Finding | undefined {
  const { namespace } = pod;
  const ungrantable = whyNotGrantable(view, pod);
  if (ungrantable !== undefined)
    return misconfigured(`${name}: no grant works on Pod ${pod.name}: ${ungrantable}.`, {
      seen: `kubectl -n ${namespace} get pod ${pod.name} -o yaml`,
      next: 'Move the workload to a sidecar, or remove it from the grants.',
      command: `kubectl get namespace ${namespace} --show-labels`,
    });
  const bare = whyNoSidecar(pod, namespaceInjection(namespace, view.namespaceLabels(namespace)));
  const seen = `kubectl -n ${namespace} get pod ${pod.name} -o yaml`;
  if (bare !== undefined)
    return misconfigured(`${name}: Pod ${pod.name} has no sidecar to check calls: ${bare}.`, {
      seen,
      next: 'Enable sidecar injection in its namespace, and restart the workload.',
      command: `kubectl get namespace ${namespace} --show-labels`,
    });
  if (!isCaptured(pod, port))
    return misconfigured(`${name}: calls to port ${port} of Pod ${pod.name} bypass its sidecar.`, {
      seen,
      next: "Remove the port from the workload's traffic.sidecar.istio.io/*InboundPorts annotations.",
      command: seen,
    });
  const { general, ports } = peerModesOf(view, pod);
  const { mode, policy } = (port === undefined ? undefined : ports.get(port)) ?? general;
  if (mode !== 'STRICT') {
    const by = policy ? `PeerAuthentication ${policy.metadata.namespace}/${policy.metadata.name}` : "Istio's default";
    return misconfigured(`${name} also accepts plaintext connections, which bypass grants (${mode} by ${by}).`, {
      seen: 'kubectl get peerauthentications --all-namespaces',
      next: `Once all of its clients have sidecars, set mtls.mode to STRICT in a PeerAuthentication in ${namespace}.`,
      command: `kubectl -n ${namespace} get peerauthentications -o yaml`,
    });
  }
  const unsure = view.dataPlane().unknownAt(pod, port);
  return unsure === undefined ? undefined : unknown(`${name}: ${unsure}.`, { seen });
}
