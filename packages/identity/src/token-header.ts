/** The rules for the name of the request header that contains the identity token. */

const NAME = /^x-[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?$/;
/** Matches headers that proxies set and trust. */
const OF_PROXIES = /^x-(?:forwarded|envoy|b3|request-id|real-ip|istio)(?:-|$)/;

/**
 * Whether a name is that of a custom header, `x-...`, in lower case. The agent replaces this header in requests. It
 * must therefore not be a header that frames the message (`content-length`), routes it (`host`) or belongs to the
 * application (`authorization`).
 */
export function isTokenHeader(name: string): boolean {
  return NAME.test(name) && !OF_PROXIES.test(name);
}
