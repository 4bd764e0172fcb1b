/**
 * Workloads are the Pods behind a proxy. They are identified by the labels that policies and Services use to select
 * them.
 */

import type { Service } from '../object/kubernetes.ts';
import { distinct } from '../object/members.ts';
import type { Labels } from '../object/object.ts';
import { lastingLabels, type PodTemplateOf, portNamesOf, standInPorts } from './pod.ts';
import type { MeshProxy, ProxyKind } from './proxy.ts';

/** The Pods in a namespace that have the same labels, even if none of these Pods was read. */
export interface Workload extends MeshProxy {
  /** The name of the Pod or its controller, or a description if the workload does not exist yet. */
  readonly name: string;
  /** The numbers of the container ports, by name. */
  readonly portNames: ReadonlyMap<string, number>;
}

/** A workload that was derived from a Pod or from the controller that creates the Pods. */
export interface PodWorkload extends Workload, PodTemplateOf {}

/**
 * Converts a Pod or a template to a workload.
 * @param kindOf see `proxyKinds`
 * @example
 * ```ts
 * import { indexObjects, loadManifests, podTemplates, proxyKinds, toWorkload } from '@meshpass/istio';
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${pod}`, 'mesh.yaml');
 * const [template] = podTemplates(indexObjects(resources).all);
 * toWorkload(template!, proxyKinds([])).portNames.get('web'); // => 8080
 * ```
 */
export function toWorkload(template: PodTemplateOf, kindOf: (labels: Labels) => ProxyKind): PodWorkload {
  return { ...template, kind: kindOf(template.labels), portNames: portNamesOf(template.pod) };
}

/**
 * Merges replicas, which are Pods with the same namespace, ServiceAccount and labels. Their controller is merged with
 * them.
 * @param selected the labels that selectors use. Pods that differ in one of them are different workloads
 * @example
 * ```ts
 * import { loadManifests, viewMesh, withoutReplicas } from '@meshpass/istio';
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${pod}`, 'mesh.yaml');
 * const [one] = viewMesh(resources).workloads;
 * withoutReplicas([one!, one!], new Set()).length; // => 1
 * ```
 */
export function withoutReplicas(pods: readonly PodWorkload[], selected: ReadonlySet<string>): readonly PodWorkload[] {
  return distinct(pods, ({ namespace, serviceAccount, labels }) =>
    JSON.stringify([namespace, serviceAccount, lastingLabels(labels, selected)]),
  );
}

/**
 * Creates a workload for a Service without any known Pods. The labels of the workload are exactly those in the
 * selector.
 * @example
 * ```ts
 * import { loadManifests, ofKind, proxyKinds, standInFor } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const { resources } = loadManifests(`${orders}`, 'mesh.yaml');
 * const [service] = ofKind(resources, 'Service');
 * standInFor(service!, proxyKinds([])).labels; // => { app: 'orders' }
 * ```
 */
export function standInFor({ metadata, spec }: Service, kindOf: (labels: Labels) => ProxyKind): Workload {
  const { name, namespace } = metadata;
  const labels = spec.selector ?? {};
  return { namespace, name, labels, kind: kindOf(labels), portNames: standInPorts(spec) };
}
