/** What is between a workspace and broker or edge: names, and who answers TLS. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';

const PATIENCE_MS = 10_000;
/** A server that refuses a client's certificate says so after the client's handshake (RFC 8446 section 4.4.2). */
const REFUSAL_MS = 300;
/** Makers of proxies that open TLS, as they name their CAs. */
const INTERCEPTORS =
  /zscaler|netskope|forcepoint|palo alto|blue ?coat|symantec web|fortinet|fortigate|sophos|umbrella|mitmproxy|skyhigh|check ?point|barracuda|ssl inspection|tls inspection/i;

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

/**
 * One TLS handshake. It sends nothing.
 * @returns undefined where no connection came about: another check says so
 * @throws MeshpassError `agent_broker_unreachable` where another one answers than should, or the client's certificate is refused
 */
export async function shakeHands(handshake: Handshake): Promise<Shaken | undefined> {
  const { host, port, ca, client } = handshake;
  const bare = host.replace(/^\[|\]$/g, '');
  const socket = connect({
    ...{ host: bare, port, rejectUnauthorized: false, timeout: PATIENCE_MS },
    ...(!isIP(bare) && { servername: bare }),
    ...(ca !== undefined && { ca }),
    ...client,
  });
  try {
    const isThere = await new Promise<boolean>((resolve) => {
      socket.once('secureConnect', () => resolve(true));
      socket.once('timeout', () => resolve(false));
      socket.once('error', () => resolve(false));
    });
    if (!isThere) return undefined;
    const issuer = issuerOf(socket.getPeerCertificate(true));
    refuseOthers(socket, bare, issuer);
    const refusal = client && (await refusalOf(socket));
    if (refusal)
      throw new MeshpassError('tunnel_certificate_untrusted', `${bare}:${port} refuses the certificate: ${refusal}.`);
    return { protocol: socket.getProtocol() ?? 'TLS', issuer };
  } finally {
    socket.on('error', () => {});
    socket.destroy();
  }
}

function refuseOthers(socket: TLSSocket, host: string, issuer: string): void {
  const why = socket.authorizationError as unknown as string | Error | undefined;
  if (!socket.authorized) {
    const code = why instanceof Error ? ((why as NodeJS.ErrnoException).code ?? why.message) : String(why);
    const what =
      code === 'ERR_TLS_CERT_ALTNAME_INVALID'
        ? `What answers as ${host} shows a certificate of another name, signed by ${issuer}.`
        : `What answers as ${host} shows a certificate that is not trusted here (${code}); it was signed by ${issuer}.`;
    throw new MeshpassError('agent_broker_unreachable', what);
  }
  if (INTERCEPTORS.test(issuer))
    throw new MeshpassError(
      'agent_broker_unreachable',
      `A proxy opens the TLS of ${host}: its certificate was signed by ${issuer}. Certificates of workspaces do not pass through it.`,
    );
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
