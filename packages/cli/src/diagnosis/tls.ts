/** Examines name resolution and TLS for the broker and the edge, as seen from a workspace or an operator's machine. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import {
  type CertificateValidity,
  certificateValidity,
  MeshpassError,
  plainText,
  tlsFailure,
} from '@meshpass/identity';

const PATIENCE_MS = 10_000;
/**
 * How long to wait for a TLS alert. A server that rejects the client's certificate sends the alert only after the
 * client has completed the handshake (RFC 8446 section 4.4.2).
 */
const REFUSAL_MS = 300;
/** The vendors of TLS-intercepting proxies, as they appear in their CA certificates. */
const INTERCEPTORS =
  /zscaler|netskope|forcepoint|palo alto|blue ?coat|symantec web|fortinet|fortigate|sophos|umbrella|mitmproxy|skyhigh|check ?point|barracuda|ssl inspection|tls inspection/i;
/** Explanations of why a handshake failed, keyed by Node.js error code. */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection closed before TLS',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  EPROTO: 'the server does not speak TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'the server does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'the server does not speak TLS',
};

/**
 * Resolves a host name to its addresses.
 * @throws MeshpassError `agent_broker_unreachable`
 */
export async function resolveHost(host: string): Promise<readonly string[]> {
  const bare = host.replace(/^\[|\]$/g, '');
  if (isIP(bare)) return [bare];
  try {
    return (await lookup(bare, { all: true })).map(({ address }) => address);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why = code === 'ENOTFOUND' ? 'no such name' : `the name server does not respond (${code})`;
    throw new MeshpassError('agent_broker_unreachable', `Cannot resolve ${bare}: ${why}.`, { cause });
  }
}

export interface TlsHandshakeOptions {
  readonly host: string;
  readonly port: number;
  /** The CA certificates in PEM format. Defaults to Node's built-in roots. */
  readonly ca: string | undefined;
  /** The client certificate and its key in PEM format. */
  readonly client?: { readonly cert: string; readonly key: string };
}

/** A server that has completed the handshake, whether or not its certificate is trusted. */
export interface TlsServer {
  readonly protocol: string;
  /** The issuer of the topmost certificate in the chain. */
  readonly issuer: string;
  readonly life: CertificateValidity;
  /** The host names in the certificate. */
  readonly names: string;
  /** The Node.js error code that explains why the certificate is not trusted. Absent if the certificate is trusted. */
  readonly untrusted?: string;
  /** The alert that the server sent to reject the client's certificate. */
  readonly refusal?: string;
}

/**
 * Performs a TLS handshake that accepts any certificate, and sends no application data.
 * @returns the server, or a description of the failure if the handshake was not completed
 */
export async function examineTls(handshake: TlsHandshakeOptions): Promise<TlsServer | { readonly unreached: string }> {
  const { host, port, ca, client } = handshake;
  const bare = host.replace(/^\[|\]$/g, '');
  const socket = connect({
    host: bare,
    port,
    rejectUnauthorized: false,
    timeout: PATIENCE_MS,
    ...(!isIP(bare) && { servername: bare }),
    ...(ca !== undefined && { ca }),
    ...client,
  });
  try {
    const unreached = await new Promise<string | undefined>((resolve) => {
      socket.once('secureConnect', () => resolve(undefined));
      socket.once('timeout', () => resolve(`no response in ${PATIENCE_MS / 1000} s`));
      socket.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(WORDS[code ?? ''] ?? code ?? message));
    });
    if (unreached !== undefined) return { unreached };
    const certificate = socket.getPeerX509Certificate()!;
    const untrusted = reasonAgainst(socket);
    const server = {
      protocol: socket.getProtocol() ?? 'TLS',
      issuer: issuerOf(socket.getPeerCertificate(true)),
      life: certificateValidity(certificate),
      names: namesOf(certificate.subjectAltName),
      ...(untrusted !== undefined && { untrusted }),
    };
    const refusal = client && untrusted === undefined ? await refusalOf(socket) : undefined;
    return { ...server, ...(refusal !== undefined && { refusal }) };
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}

/**
 * Performs a TLS handshake with the broker or the edge, and verifies that it is not intercepted.
 * @returns undefined if the connection failed, which is reported by another check
 * @throws MeshpassError `agent_broker_unreachable` if a different server answers (`detail.tls` contains the Node.js
 *   error code), or `tunnel_certificate_untrusted` if the client's certificate is rejected
 */
export async function performTlsHandshake(handshake: TlsHandshakeOptions): Promise<TlsServer | undefined> {
  const host = handshake.host.replace(/^\[|\]$/g, '');
  const server = await examineTls(handshake);
  if ('unreached' in server) return undefined;
  const { untrusted, issuer, refusal } = server;
  if (untrusted !== undefined)
    throw new MeshpassError('agent_broker_unreachable', sentenceFor(untrusted, server, host), {
      detail: { tls: untrusted },
    });
  if (INTERCEPTORS.test(issuer))
    throw new MeshpassError(
      'agent_broker_unreachable',
      `A proxy intercepts TLS to ${host}: its certificate was signed by ${issuer}. Client certificates do not pass through the proxy.`,
    );
  if (refusal === undefined) return server;
  throw new MeshpassError(
    'tunnel_certificate_untrusted',
    `${host}:${handshake.port} rejected the certificate: ${refusal}.`,
  );
}

/** Returns the Node.js error code that explains why the certificate is not trusted. */
function reasonAgainst(socket: TLSSocket): string | undefined {
  if (socket.authorized) return undefined;
  const why = socket.authorizationError as unknown as string | Error | undefined;
  return why instanceof Error ? ((why as NodeJS.ErrnoException).code ?? why.message) : String(why);
}

function sentenceFor(code: string, { issuer, life }: TlsServer, host: string): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `The server at ${host} presents a certificate for a different name, signed by ${issuer}.`;
  if (code === 'CERT_HAS_EXPIRED') {
    const day = new Date(life.notAfter * 1000).toISOString().slice(0, 10);
    return `The certificate for ${host} expired on ${day} by this machine's clock. It was signed by ${issuer}.`;
  }
  return `The server at ${host} presents a certificate that is not trusted here (${code}). It was signed by ${issuer}.`;
}

/**
 * Returns advice about an error that was thrown by performTlsHandshake().
 * @param otherwise the advice to return if the certificate is not the cause
 */
export function tlsAdviceFor({ detail }: MeshpassError, otherwise: string): string {
  return tlsFailure(detail.tls)?.next ?? otherwise;
}

/** Waits for the TLS alert that the server may send after the handshake. */
function refusalOf(socket: TLSSocket): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, REFUSAL_MS, undefined);
    const end = (error?: Error) => {
      clearTimeout(timer);
      resolve((error as NodeJS.ErrnoException | undefined)?.code ?? 'the connection was closed');
    };
    socket.once('error', end);
    socket.once('close', () => end());
    socket.resume();
  });
}

/** Returns the topmost issuer in the chain. If a proxy intercepts the connection, this is the proxy's own CA. */
function issuerOf(certificate: DetailedPeerCertificate): string {
  let top = certificate;
  for (let depth = 0; depth < 10 && top.issuerCertificate && top.issuerCertificate !== top; depth++)
    top = top.issuerCertificate;
  const { O, CN } = top.issuer ?? {};
  const name = [CN, O]
    .flat()
    .filter((one) => typeof one === 'string')
    .join(', ');
  return plainText(name.slice(0, 200)) || 'an unknown issuer';
}

function namesOf(alternatives: string | undefined): string {
  return plainText((alternatives ?? '').replaceAll(/\b(?:DNS|IP Address):/g, '').slice(0, 200)) || 'no name';
}
