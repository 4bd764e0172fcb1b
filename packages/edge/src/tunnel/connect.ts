/**
 * Reads the head of a CONNECT request (RFC 9112 section 3.2.3, RFC 9110 section 9.3.6). The edge supports no other HTTP
 * requests. The parser can therefore be stricter than HTTP requires, and it lacks the leniency that request smuggling
 * exploits.
 */
import { formatSni, KUBERNETES_API, KUBERNETES_TARGET, parseSni, parseTarget } from '@meshpass/identity';

/** The destination of a CONNECT request. */
export interface ConnectDestination {
  /** The `host:port` of the service. Grants refer to services in this form. */
  readonly target: string;
  /** The server name that the inner ClientHello must contain. */
  readonly sni: string;
  /** Whether the CONNECT request specified an SNI instead of `host:port`. */
  readonly bySni: boolean;
  /** Whether the destination is the Kubernetes API server, which is not behind the mesh gateway. */
  readonly isKubernetes?: true;
}

export type ConnectResult =
  | { readonly state: 'more' }
  /** The `rest` contains the bytes after the head, which are the first bytes of the inner connection. */
  | { readonly state: 'done'; readonly destination: ConnectDestination; readonly rest: Buffer }
  | { readonly state: 'error'; readonly reason: string };

export type ConnectReader = ReturnType<typeof createConnectReader>;

const METHOD = Buffer.from('CONNECT ');
const END = Buffer.from('\r\n\r\n');
const REQUEST_LINE = /^CONNECT ([^ ]+) HTTP\/1\.1$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*?)[ \t]*$/;
/** The port of Istio's AUTO_PASSTHROUGH gateways. In a CONNECT request, it indicates that the host is an SNI. */
const SNI_PORT = ':15443';
const MORE: ConnectResult = { state: 'more' };

/**
 * Creates a reader for the head of a single CONNECT request.
 * @param limit the maximum size of the head, in bytes
 */
export function createConnectReader(limit: number) {
  let bytes: Buffer = Buffer.alloc(0);
  return {
    /** Processes the next bytes. It must not be called again after it has returned `done` or `error`. */
    push(chunk: Buffer) {
      const searchFrom = Math.max(0, bytes.length - END.length + 1);
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const start = Math.min(bytes.length, METHOD.length);
      if (bytes.compare(METHOD, 0, start, 0, start) !== 0) return failed('Only the CONNECT method is supported here.');
      const end = bytes.indexOf(END, searchFrom);
      if (end < 0 ? bytes.length > limit : end + END.length > limit) {
        return failed(`The request head is larger than ${limit} bytes.`);
      }
      if (end < 0) return MORE;
      return parse(bytes.toString('latin1', 0, end), bytes.subarray(end + END.length));
    },
  };
}

function parse(head: string, rest: Buffer): ConnectResult {
  const [requestLine, ...lines] = head.split('\r\n');
  const authority = REQUEST_LINE.exec(requestLine!)?.[1];
  const destination = authority === undefined ? undefined : parseAuthority(authority);
  if (!destination) {
    return failed('The request line is not CONNECT host:port HTTP/1.1, or CONNECT SNI:15443 HTTP/1.1, in lower case.');
  }
  let host: string | undefined;
  for (const line of lines) {
    const field = FIELD.exec(line);
    if (!field) return failed('A header field is malformed.');
    const name = field[1]!.toLowerCase();
    if (name === 'content-length' || name === 'transfer-encoding') return failed('CONNECT must not carry a body.');
    if (name !== 'host') continue;
    if (host !== undefined) return failed('The request has more than one Host header.');
    host = field[2]!;
  }
  if (host !== authority) return failed('The Host header does not match the CONNECT target.');
  return { state: 'done', destination, rest };
}

// The two forms are distinct: a host name never contains an underscore, and an Istio SNI always begins with
// `outbound_`.
function parseAuthority(authority: string): ConnectDestination | undefined {
  if (authority === KUBERNETES_TARGET)
    return { target: authority, sni: KUBERNETES_API.host, bySni: false, isKubernetes: true };
  const target = parseTarget(authority);
  if (target) {
    const { host, port } = target;
    return `${host}:${port}` === authority ? { target: authority, sni: formatSni(target), bySni: false } : undefined;
  }
  if (!authority.endsWith(SNI_PORT)) return undefined;
  const sni = authority.slice(0, -SNI_PORT.length);
  const cluster = parseSni(sni);
  return cluster && { target: `${cluster.host}:${cluster.port}`, sni, bySni: true };
}

function failed(reason: string): ConnectResult {
  return { state: 'error', reason };
}
