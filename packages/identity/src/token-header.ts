/** Which request header may carry the identity token. */

const NAME = /^x-[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?$/;
/** What proxies on the way set, and believe. */
const OF_PROXIES = /^x-(?:forwarded|envoy|b3|request-id|real-ip|istio)(?:-|$)/;

/**
 * A lower-case name of its own, `x-...`. The agent drops a header of this name from requests and puts in its own: one
 * that frames the message (`content-length`), routes it (`host`) or is the application's (`authorization`) must not be it.
 */
export function isTokenHeader(name: string): boolean {
  return NAME.test(name) && !OF_PROXIES.test(name);
}
