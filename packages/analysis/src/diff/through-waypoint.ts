/**
 * Builds the formulas for calls that go through a waypoint. The waypoint sees the address and port of the Service, but
 * neither an SNI nor the peer's address. The workload behind the waypoint sees the waypoint as the caller.
 */
import type { Waypoint } from '@meshpass/istio';
import { parseCidr } from '../address.ts';
import {
  ALWAYS,
  all,
  type Condition,
  constant,
  flag,
  NEVER,
  opaque,
  opaqueReason,
  replaceTests,
  type Test,
  testsOf,
} from './formula/condition.ts';
import { passesTest } from './formula/text-test.ts';
import type { PortPolicy } from './port-policy.ts';

/**
 * Combines the policies of a waypoint with those of the workload behind it.
 * @param address the address of the Service, or undefined if it is unknown
 */
export function combineWaypointPolicy(
  { gateway, principals }: Waypoint,
  address: string | undefined,
  atWaypoint: PortPolicy,
  atPod: PortPolicy,
): PortPolicy {
  const name = `${gateway.metadata.namespace}/${gateway.metadata.name}`;
  const first = replaced(atWaypoint, (test) => seenByWaypoint(test, address));
  const [one = '', ...others] = principals;
  const second = replaced(atPod, (test) => seenFrom(test, one));
  const allowed = all([flag('peer'), first.allowed, second.allowed]);
  const differs = others.some(
    (other) => !isSame(second.allowed, replaced(atPod, (test) => seenFrom(test, other)).allowed),
  );
  const unknown = differs ? `the Pods of waypoint ${name} have several ServiceAccounts` : whyOpaque(allowed);
  return {
    key: `through ${name} ${principals.join()} ${address ?? ''} (${atWaypoint.key}) (${atPod.key})`,
    allowed,
    policies: () => [...first.policies(), ...second.policies()],
    stages: [first, second],
    requests: atWaypoint.requests ?? [],
    ...(unknown !== undefined && { unknown }),
  };
}

function replaced(portPolicy: PortPolicy, of: (test: Test) => Condition): PortPolicy {
  return {
    ...portPolicy,
    allowed: replaceTests(portPolicy.allowed, of),
    policies: () =>
      portPolicy.policies().map((one) => ({
        policy: one.policy,
        refuses: one.refuses,
        get rules() {
          return one.rules.map((rule) => replaceTests(rule, of));
        },
      })),
  };
}

function isSame(one: Condition, other: Condition): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function seenByWaypoint(test: Test, address: string | undefined): Condition {
  if (test.op === 'text' && test.field === 'connection.sni') return NEVER;
  if (test.op !== 'address' || test.field === 'remote.ip') return test;
  // The call is decided by a listener inside Envoy, whose peer has no IP address.
  if (test.field === 'source.ip') return NEVER;
  if (address === undefined)
    return opaque(`a policy at the waypoint tests the address of the Service, which is not known`);
  const [found, range] = [parseCidr(address), parseCidr(test.range)];
  return constant(!!found && !!range && range.first <= found.first && found.first <= range.last);
}

/**
 * Replaces tests of the caller with their results for the waypoint, because the workload sees the waypoint as the
 * caller.
 */
function seenFrom(test: Test, principal: string): Condition {
  if (test.op === 'address')
    return test.field === 'source.ip' ? opaque('a policy at the workload tests the address of the waypoint') : test;
  const [trustDomain, , namespace, , account] = principal.split('/');
  return substitutePeer(test, { trustDomain, namespace, account });
}

/** The parts of a peer's identity. Parts that are undefined may have any value. */
interface PeerIdentity {
  readonly trustDomain: string | undefined;
  readonly namespace?: string | undefined;
  readonly account?: string | undefined;
}

/** Replaces tests of the peer's identity with their results for a known identity. */
export function substitutePeer(test: Test, { trustDomain, namespace, account }: PeerIdentity): Condition {
  if (test.op === 'flag' && test.field === 'peer') return ALWAYS;
  if (test.op !== 'text') return test;
  const known = { 'peer.trustDomain': trustDomain, 'peer.namespace': namespace, 'peer.account': account };
  const value = (known as Readonly<Record<string, string | undefined>>)[test.field];
  return value === undefined ? test : constant(passesTest(test.test, value));
}

function whyOpaque(condition: Condition): string | undefined {
  return [...testsOf(condition, new Set())].map(({ field }) => opaqueReason(field)).find((why) => why !== undefined);
}
