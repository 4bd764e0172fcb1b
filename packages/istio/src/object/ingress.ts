/** Kubernetes' Ingress, reduced to the fields that affect access. Source: the API reference of `networking.k8s.io/v1`. */
import type { SpecObject, Texts } from './object.ts';

export interface IngressBackend {
  readonly service?: {
    readonly name?: string;
    readonly port?: { readonly name?: string; readonly number?: number };
  };
  readonly resource?: unknown;
}

export interface IngressPath {
  readonly path?: string;
  readonly pathType?: string;
  readonly backend?: IngressBackend;
}

export type Ingress = SpecObject<
  'Ingress',
  {
    readonly ingressClassName?: string;
    readonly defaultBackend?: IngressBackend;
    readonly tls?: readonly { readonly hosts?: Texts; readonly secretName?: string }[];
    readonly rules?: readonly {
      readonly host?: string;
      readonly http?: { readonly paths?: readonly IngressPath[] };
    }[];
  }
>;

export type IngressClass = SpecObject<
  'IngressClass',
  { readonly controller?: string; readonly parameters?: { readonly kind?: string; readonly name?: string } }
>;

/** Settings of a class of the AWS Load Balancer Controller. */
export type IngressClassParams = SpecObject<'IngressClassParams', { readonly scheme?: string }>;
