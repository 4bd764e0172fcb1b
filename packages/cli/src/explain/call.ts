/** The call that somebody asks about, from a URL. */
import type { AskedCall } from '@meshpass/agent/explain/answer';
import { MeshpassError } from '@meshpass/identity/error';

export interface WantedCall extends AskedCall {
  /** `tcp`: a connection that is no HTTP; method and path say nothing then. */
  readonly protocol: 'http' | 'tcp';
}

const METHOD = /^[A-Z][A-Z-]{0,19}$/;
const LONGEST = 4_096;

/**
 * @param given `http://orders.shop:8080/orders/1` or `tcp://ledger-db.shop:5432`
 * @param headers lines `NAME: VALUE`
 * @throws MeshpassError `usage`
 */
export function wantedCall(given: string, method: string, headers: readonly string[]): WantedCall {
  const url = given.length <= LONGEST && URL.canParse(given) ? new URL(given) : undefined;
  if (!url || !['http:', 'tcp:'].includes(url.protocol) || url.hostname === '')
    throw new MeshpassError(
      'usage',
      `${JSON.stringify(given.slice(0, 200))}: write http://SERVICE.NAMESPACE:PORT/PATH, or tcp://SERVICE.NAMESPACE:PORT. Calls to ` +
        'the mesh are plain http:// in the workspace; TLS is made on the way.',
    );
  if (url.username !== '' || url.password !== '')
    throw new MeshpassError('usage', 'The URL has a user or a password, which no hop looks at: leave it out.');
  const protocol = url.protocol === 'tcp:' ? 'tcp' : 'http';
  if (protocol === 'tcp' && url.port === '')
    throw new MeshpassError('usage', 'tcp://SERVICE.NAMESPACE:PORT needs a port.');
  if (!METHOD.test(method))
    throw new MeshpassError('usage', `--method ${JSON.stringify(method)} is no method: write it in capitals, as GET.`);
  return {
    ...{ protocol, method, host: url.hostname.toLowerCase() },
    port: url.port === '' ? 80 : Number(url.port),
    path: `${url.pathname || '/'}${url.search}`,
    headers: Object.fromEntries(headers.map(headerLine)),
  };
}

function headerLine(line: string): readonly [string, string] {
  const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
  if (name === undefined) throw new MeshpassError('usage', `--header ${JSON.stringify(line)}: write NAME: VALUE.`);
  return [name.toLowerCase(), value!];
}

/** `GET /orders/1`, without the query, which no rule of Meshpass looks at; or `a connection`. */
export function formatWanted({ protocol, method, path }: WantedCall): string {
  return protocol === 'tcp' ? 'a connection' : `${method} ${path.split('?')[0]}`;
}
