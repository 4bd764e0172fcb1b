/** Workloads: what a proxy guards, as policies select it and Services send to it. */

import type { Service } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import { lastingLabels, type PodTemplateOf, portNamesOf, standInPorts } from './pod.ts';
import type { MeshProxy, ProxyKind } from './proxy.ts';

/** Pods with the same labels in one namespace, whether or not one was read. */
export interface Workload extends MeshProxy {
  /** Name of the Pod or of its controller, or words for a workload that nobody has created yet. */
  readonly name: string;
  /** Container ports by name. */
  readonly portNames: ReadonlyMap<string, number>;
}

/** A workload that was read from a Pod, or from the controller that creates its Pods. */
export interface PodWorkload extends Workload, PodTemplateOf {}

/**
 * A Pod or a template as a workload.
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
 * One workload for all replicas: Pods with the same namespace, ServiceAccount and labels, and the controller that created them.
 * @param selected labels that something selects by: Pods that differ in one of them are different workloads
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
  const found = new Map<string, PodWorkload>();
  for (const pod of pods) {
    const key = JSON.stringify([pod.namespace, pod.serviceAccount, lastingLabels(pod.labels, selected)]);
    if (!found.has(key)) found.set(key, pod);
  }
  return [...found.values()];
}

/**
 * The workload behind a Service none of whose Pods were read: it has the labels of the selector and no others.
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
