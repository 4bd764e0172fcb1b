/** Istio resources for cases, each named `fidelity`: what a case applies replaces what another left. */
import type { KubeObject } from '@meshpass/lab';
import { ECHO_HOST } from './case.ts';

const NAME = 'fidelity';
const NETWORKING = 'networking.istio.io/v1';

export const V1 = { destination: { host: ECHO_HOST, subset: 'v1' } };
export const V2 = { destination: { host: ECHO_HOST, subset: 'v2' } };
/** Both versions. */
export const ANY = { destination: { host: ECHO_HOST } };

/** @param http routes of echo.shop */
export function virtualService(http: readonly object[], spec: object = {}, namespace = 'shop'): KubeObject {
  return {
    apiVersion: NETWORKING,
    kind: 'VirtualService',
    metadata: { name: NAME, namespace },
    spec: { hosts: [ECHO_HOST], http, ...spec },
  };
}

/** DestinationRule with the subsets v1 and v2. @param policy traffic policy of all of them */
export function destinationRule(policy: object = {}): KubeObject {
  const subsets = ['v1', 'v2'].map((version) => ({ name: version, labels: { version } }));
  return {
    apiVersion: NETWORKING,
    kind: 'DestinationRule',
    metadata: { name: NAME, namespace: 'shop' },
    spec: { host: ECHO_HOST, subsets, trafficPolicy: policy },
  };
}

/** @param app the workload of namespace shop that it is for */
export function telemetry(app: string, spec: object): KubeObject {
  return {
    apiVersion: 'telemetry.istio.io/v1',
    kind: 'Telemetry',
    metadata: { name: NAME, namespace: 'shop' },
    spec: { selector: { matchLabels: { app } }, ...spec },
  };
}
