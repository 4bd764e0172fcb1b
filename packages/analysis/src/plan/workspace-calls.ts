/**
 * Describes the calls that workspaces make, based on properties that the access file does not determine: IP addresses,
 * host names and headers.
 */

import { type Mesh, ofKind, type Resource, selects } from '@meshpass/istio';
import { type AddressField, ALWAYS, all, any, type Condition, not, testsOf, text } from '../diff/formula/condition.ts';
import type { Node } from '../diff/formula/diagram.ts';
import type { Space } from '../diff/formula/space.ts';

/** The fields that contain the mesh gateway's address when a workspace makes a call. */
const ADDRESSES = ['source.ip', 'remote.ip'] as const;

export interface WorkspaceCalls {
  /**
   * Calls with a certificate from the mesh's trust domain that come from an address of the mesh gateway, which forwards
   * all calls from workspaces. If the gateway's Pods were not read, any address is possible.
   */
  readonly forwarded: Condition;
  /** Calls that carry none of the headers that policies test. */
  readonly headerless: Condition;
  /** Fields that are known to be present or absent in every call. */
  readonly given: readonly string[];
  /** Fields that are known to be present or absent in ordinary calls. */
  readonly ordinarilyGiven: readonly string[];
}

/**
 * Describes the calls that workspaces make.
 * @param allowed the formulas of all ports
 */
export function workspaceCalls(
  resources: readonly Resource[],
  { gateway, trustDomain }: Pick<Mesh, 'gateway' | 'trustDomain'>,
  allowed: Iterable<Condition>,
): WorkspaceCalls {
  const seen = new Set<Condition>();
  const tested = new Set<string>();
  for (const one of allowed) for (const test of testsOf(one, seen)) tested.add(test.field);
  const pods = ofKind(resources, 'Pod').filter(
    ({ metadata }) => metadata.namespace === gateway.namespace && selects(gateway.labels, metadata.labels ?? {}),
  );
  const addresses = [...new Set(pods.flatMap(({ status }) => status?.podIP ?? []))].sort();
  const asked: readonly AddressField[] = addresses.length === 0 ? [] : ADDRESSES.filter((field) => tested.has(field));
  const headers = [...tested].filter((field): field is `header:${string}` => field.startsWith('header:'));
  const from = (range: string) => all(asked.map((field) => ({ op: 'address', field, range })));
  return {
    forwarded: all([
      text('peer.trustDomain', { form: 'exact', text: trustDomain }),
      any(asked.length === 0 ? [ALWAYS] : addresses.map(from)),
    ]),
    headerless: all(headers.map((field) => not(text(field, { form: 'present' })))),
    given: ['peer.trustDomain', ...asked],
    ordinarilyGiven: ['host', ...headers],
  };
}

/**
 * Returns the calls whose Host header contains the name of a Service as clients usually write it, and that carry none
 * of the headers that policies test.
 */
export function ordinaryCalls(
  { diagram, set, withText }: Space,
  { headerless }: Pick<WorkspaceCalls, 'headerless'>,
  { host, port }: { readonly host: string; readonly port: number },
): Node {
  const [name, namespace] = host.split('.') as [string, string];
  const names = [host, `${name}.${namespace}.svc`, `${name}.${namespace}`];
  const written = names.flatMap((one) => (port === 80 ? [one, `${one}:80`] : [`${one}:${port}`]));
  return diagram.and(diagram.orAll(written.map((one) => withText('host', one))), set(headerless));
}
