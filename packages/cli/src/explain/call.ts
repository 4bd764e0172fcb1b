/** Represents the call to explain, which is parsed from the URL passed to `meshpass explain`. */
import type { ExplainedCall } from '@meshpass/agent/explain/answer';
import { MeshpassError } from '@meshpass/identity';
import { parseHeaders } from '../input/request.ts';

export interface WantedCall extends ExplainedCall {
  /** The protocol of the call. For `tcp`, a connection without HTTP, the method and the path are meaningless. */
  readonly protocol: 'http' | 'tcp';
}

const METHOD = /^[A-Z][A-Z-]{0,19}$/;
const LONGEST = 4_096;

/**
 * Parses a URL into a call.
 * @param given a URL such as `http://orders.shop:8080/orders/1` or `tcp://ledger-db.shop:5432`
 * @param headers header lines of the form `NAME: VALUE`
 * @throws MeshpassError `usage`
 */
export function parseWantedCall(given: string, method: string, headers: readonly string[]): WantedCall {
  const url = given.length <= LONGEST && URL.canParse(given) ? new URL(given) : undefined;
  if (!url || !['http:', 'tcp:'].includes(url.protocol) || url.hostname === '')
    throw new MeshpassError(
      'usage',
      `${JSON.stringify(given.slice(0, 200))} is not an http:// or tcp:// URL of at most ${LONGEST} characters. Use http://SERVICE.NAMESPACE:PORT/PATH, or tcp://SERVICE.NAMESPACE:PORT. Calls to ` +
        'the mesh are plain http:// in the workspace; Envoy adds TLS.',
    );
  if (url.username !== '' || url.password !== '')
    throw new MeshpassError('usage', 'The URL contains a user or password, which no hop reads. Remove it.');
  const protocol = url.protocol === 'tcp:' ? 'tcp' : 'http';
  if (protocol === 'tcp' && url.port === '')
    throw new MeshpassError('usage', 'tcp://SERVICE.NAMESPACE:PORT requires a port.');
  if (!METHOD.test(method))
    throw new MeshpassError(
      'usage',
      `--method must be an uppercase HTTP method such as GET, not ${JSON.stringify(method)}.`,
    );
  return {
    protocol,
    method,
    host: url.hostname.toLowerCase(),
    port: url.port === '' ? 80 : Number(url.port),
    path: `${url.pathname || '/'}${url.search}`,
    headers: parseHeaders(headers),
  };
}

/**
 * Formats a call as `GET /orders/1`, for example, or as `a connection` for TCP. The query string is omitted, because it
 * is not considered by Meshpass rules.
 */
export function formatWantedCall({ protocol, method, path }: WantedCall): string {
  return protocol === 'tcp' ? 'a connection' : `${method} ${path.split('?')[0]}`;
}
