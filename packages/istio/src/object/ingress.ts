/**
 * Kubernetes Ingresses, reduced to the fields that affect access. Source: the API reference of `networking.k8s.io/v1`.
 */

import type { Item, ValueOf } from './custom.ts';
import type { SpecObject } from './object.ts';
import type { KUBERNETES } from './shapes.ts';

type Own<Kind extends 'Ingress' | 'IngressClass' | 'IngressClassParams'> = SpecObject<
  Kind,
  ValueOf<(typeof KUBERNETES)[Kind]['open']['spec']>
>;

export type Ingress = Own<'Ingress'>;
export type IngressBackend = NonNullable<Ingress['spec']['defaultBackend']>;
export type IngressPath = Item<NonNullable<Item<Ingress['spec']['rules']>['http']>['paths']>;

export type IngressClass = Own<'IngressClass'>;
/** The settings of an IngressClass of the AWS Load Balancer Controller. */
export type IngressClassParams = Own<'IngressClassParams'>;
