/** Routes of a VirtualService that forward no call. */
import type { HttpRoute } from '@meshpass/istio';
import { items, record } from '@meshpass/istio/members';

/**
 * Whether a route forwards no call: it redirects, answers by itself, or aborts every call. Without a percentage, a fault
 * aborts none. Source: `HTTPRoute` and `HTTPFaultInjection` in the VirtualService reference.
 */
export function forwardsNothing(route: HttpRoute): boolean {
  if (route.delegate) return false;
  if (route.redirect || route.directResponse || items(route.route).length === 0) return true;
  const abort = record(record(route.fault).abort);
  return Number(record(abort.percentage).value) >= 100;
}
