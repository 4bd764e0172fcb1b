/** What is between a workspace and broker or edge: names, and who answers TLS. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { type CertificateLife, lifeOf } from '@meshpass/identity/certificate-life';
import { MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { tlsFailure } from '@meshpass/identity/tls-failure';

const PATIENCE_MS = 10_000;
/** A server that refuses a client's certificate says so after the client's handshake (RFC 8446 section 4.4.2). */
const REFUSAL_MS = 300;
/** Makers of proxies that open TLS, as they name their CAs. */
const INTERCEPTORS =
  /zscaler|netskope|forcepoint|palo alto|blue ?coat|symantec web|fortinet|fortigate|sophos|umbrella|mitmproxy|skyhigh|check ?point|barracuda|ssl inspection|tls inspection/i;
/** Why no handshake came about, by Node's code. */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection is refused',
  ECONNRESET: 'the connection is closed before TLS',
  ETIMEDOUT: 'nobody answers',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
  EPROTO: 'what answers does not speak TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'what answers does not speak TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'what answers does not speak TLS',
};

/** Addresses of a name. @throws MeshpassError `agent_broker_unreachable` */
export async function resolve(host: string): Promise<readonly string[]> {
  const bare = host.replace(/^\[|\]$/g, '');
  if (isIP(bare)) return [bare];
  try {
    return (await lookup(bare, { all: true })).map(({ address }) => address);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why = code === 'ENOTFOUND' ? 'no such name' : `the name server does not answer (${code})`;
    throw new MeshpassError('agent_broker_unreachable', `${bare} cannot be resolved: ${why}.`, { cause });
  }
}

export interface Handshake {
  readonly host: string;
  readonly port: number;
  /** PEM; absent: Node's own roots. */
  readonly ca: string | undefined;
  /** PEM of a client's certificate and key. */
  readonly client?: { readonly cert: string; readonly key: string };
}

export interface Shaken {
  readonly protocol: string;
  /** Who signed the last certificate that was shown. */
  readonly issuer: string;
}

/** What is shown, whether it is believed or not. */
export interface Shown extends Shaken {
  readonly life: CertificateLife;
  /** Names that the certificate is for. */
  readonly names: string;
  /** Node's code; absent where the certificate is believed. */
  readonly refused?: string;
}

/**
 * One TLS handshake. It sends nothing.
 * @returns undefined where no connection came about: another check says so
 * @throws MeshpassError `agent_broker_unreachable` where another one answers than should, with Node's code as `tls` of its detail, or the
 *   client's certificate is refused
 */
export async function shakeHands(handshake: Handshake): Promise<Shaken | undefined> {
  const { host, port, client } = handshake;
  const bare = host.replace(/^\[|\]$/g, '');
  return await shaking(handshake, async (socket, unreached) => {
    if (unreached !== undefined) return undefined;
    const issuer = issuerOf(socket.getPeerCertificate(true));
    refuseOthers(socket, bare, issuer);
    const refusal = client && (await refusalOf(socket));
    if (refusal)
      throw new MeshpassError('tunnel_certificate_untrusted', `${bare}:${port} refuses the certificate: ${refusal}.`);
    return { protocol: socket.getProtocol() ?? 'TLS', issuer };
  });
}

/** The same for whoever looks after the server. @returns in words why there is nothing to see, where no handshake came about */
export async function lookAtShown(handshake: Handshake): Promise<Shown | { readonly unreached: string }> {
  return await shaking(handshake, (socket, unreached) => {
    if (unreached !== undefined) return { unreached };
    const certificate = socket.getPeerX509Certificate()!;
    const refused = refusedFor(socket);
    return {
      ...{ protocol: socket.getProtocol() ?? 'TLS', issuer: issuerOf(socket.getPeerCertificate(true)) },
      ...{ life: lifeOf(certificate), names: namesOf(certificate.subjectAltName) },
      ...(refused !== undefined && { refused }),
    };
  });
}

/** @param look is told why not, where no handshake came about */
async function shaking<T>(
  { host, port, ca, client }: Handshake,
  look: (socket: TLSSocket, unreached: string | undefined) => T | Promise<T>,
): Promise<T> {
  const bare = host.replace(/^\[|\]$/g, '');
  const socket = connect({
    ...{ host: bare, port, rejectUnauthorized: false, timeout: PATIENCE_MS },
    ...(!isIP(bare) && { servername: bare }),
    ...(ca !== undefined && { ca }),
    ...client,
  });
  try {
    const unreached = await new Promise<string | undefined>((resolve) => {
      socket.once('secureConnect', () => resolve(undefined));
      socket.once('timeout', () => resolve(`no answer in ${PATIENCE_MS / 1000} s`));
      socket.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(WORDS[code ?? ''] ?? code ?? message));
    });
    return await look(socket, unreached);
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}

/** Node's code of why it does not believe what is shown. */
function refusedFor(socket: TLSSocket): string | undefined {
  if (socket.authorized) return undefined;
  const why = socket.authorizationError as unknown as string | Error | undefined;
  return why instanceof Error ? ((why as NodeJS.ErrnoException).code ?? why.message) : String(why);
}

function refuseOthers(socket: TLSSocket, host: string, issuer: string): void {
  const code = refusedFor(socket);
  if (code !== undefined)
    throw new MeshpassError('agent_broker_unreachable', sentenceFor(code, socket, host, issuer), {
      detail: { tls: code },
    });
  if (INTERCEPTORS.test(issuer))
    throw new MeshpassError(
      'agent_broker_unreachable',
      `A proxy opens the TLS of ${host}: its certificate was signed by ${issuer}. Certificates of workspaces do not pass through it.`,
    );
}

function sentenceFor(code: string, socket: TLSSocket, host: string, issuer: string): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `What answers as ${host} shows a certificate of another name, signed by ${issuer}.`;
  if (code === 'CERT_HAS_EXPIRED') {
    const { notAfter } = lifeOf(socket.getPeerX509Certificate()!);
    const day = new Date(notAfter * 1000).toISOString().slice(0, 10);
    return `The certificate of ${host} expired on ${day} by the clock of this machine; it was signed by ${issuer}.`;
  }
  return `What answers as ${host} shows a certificate that is not trusted here (${code}); it was signed by ${issuer}.`;
}

/** What helps against what shakeHands() threw. @param otherwise where it was not the certificate */
export function nextAfter({ detail }: MeshpassError, otherwise: string): string {
  return tlsFailure(detail.tls)?.next ?? otherwise;
}

/** An alert that comes after the handshake. */
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

/** The topmost that is shown: of a proxy's chain its own CA. */
function issuerOf(certificate: DetailedPeerCertificate): string {
  let top = certificate;
  for (let depth = 0; depth < 10 && top.issuerCertificate && top.issuerCertificate !== top; depth++)
    top = top.issuerCertificate;
  const { O, CN } = top.issuer ?? {};
  const name = [CN, O]
    .flat()
    .filter((one) => typeof one === 'string')
    .join(', ');
  return plainText(name.slice(0, 200)) || 'nobody';
}

function namesOf(alternatives: string | undefined): string {
  return plainText((alternatives ?? '').replaceAll(/\b(?:DNS|IP Address):/g, '').slice(0, 200)) || 'no name';
}
