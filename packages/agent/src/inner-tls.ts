/** Inner TLS over a tunnel: mutual TLS with the workload itself, whose SPIFFE id is verified. */
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { MeshpassError } from '@meshpass/identity/error';
import { formatSni, spiffeOfSan } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';

export interface TlsSession {
  readonly ticket: Buffer;
  /** SPIFFE id that the server proved in the full handshake. */
  readonly peer: string | undefined;
}

export interface InnerOptions {
  /** After the edge's 200. Node stacks the two TLS layers natively, without a stream in JavaScript between them. */
  readonly outer: TLSSocket;
  readonly service: ReachableService;
  readonly alpn: string[];
  readonly context: SecureContext;
  /** Of an earlier connection to the same service under the same credential. */
  readonly session: TlsSession | undefined;
  readonly onSession: (session: TlsSession) => void;
  /** Milliseconds. */
  readonly timeout: number;
}

/** @throws MeshpassError agent_peer_untrusted, agent_edge_unreachable */
export function secureInside(options: InnerOptions): Promise<TLSSocket> {
  const { outer, service, session } = options;
  const expected = new Set(service.spiffe_ids);
  return new Promise((resolve, reject) => {
    const inner = connect({
      socket: outer,
      servername: formatSni(service),
      secureContext: options.context,
      minVersion: 'TLSv1.3',
      ALPNProtocols: options.alpn,
      rejectUnauthorized: true,
      checkServerIdentity: (_name, certificate) =>
        untrusted(spiffeOfSan(certificate.subjectaltname), expected, service),
      ...(session ? { session: session.ticket } : {}),
    });
    const fail = (cause: Error) => {
      clearTimeout(timer);
      inner.destroy();
      outer.destroy();
      reject(failure(service, cause));
    };
    const timer = setTimeout(() => fail(new Error('timeout')), options.timeout);
    inner.once('close', () => outer.destroy());
    const closedEarly = () => fail(new Error('the connection was closed during the handshake'));
    inner.once('error', fail);
    inner.once('close', closedEarly);
    let peer: string | undefined;
    inner.on('session', (ticket: Buffer) => options.onSession({ ticket, peer }));
    inner.once('secureConnect', () => {
      clearTimeout(timer);
      // A resumed session shows no certificate, and Node asks checkServerIdentity only in full handshakes: what was
      // verified when the ticket was given counts, held against what is expected now (RFC 8446 section 2.2).
      peer = inner.isSessionReused() ? session?.peer : spiffeOfSan(inner.getPeerCertificate().subjectaltname);
      const refused = untrusted(peer, expected, service);
      if (refused || !inner.authorized) return fail(refused ?? new Error('unauthorized'));
      inner.off('error', fail);
      inner.off('close', closedEarly);
      inner.on('error', () => inner.destroy());
      resolve(inner);
    });
  });
}

function untrusted(
  id: string | undefined,
  expected: ReadonlySet<string>,
  service: ReachableService,
): Error | undefined {
  if (id !== undefined && expected.has(id)) return undefined;
  return Object.assign(new Error(`${service.host}:${service.port} presents ${id ?? 'no SPIFFE id'}`), {
    code: 'MESHPASS_PEER',
  });
}

function failure(service: ReachableService, cause: Error): MeshpassError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const authority = `${service.host}:${service.port}`;
  if (code === 'MESHPASS_PEER' || /CERT|VERIFY|ISSUER|SIGNATURE|CHAIN/.test(code) || cause.message === 'unauthorized') {
    return new MeshpassError(
      'agent_peer_untrusted',
      `What answers at ${authority} is not the workload that the mesh names (${cause.message}); nothing was sent to it.`,
      { cause },
    );
  }
  return new MeshpassError(
    'agent_edge_unreachable',
    `The mesh ended the connection to ${authority} before it was secure (${code || cause.message}). ` +
      'The service may have no ready pod, or your access has just ended: meshpass status tells.',
    { cause },
  );
}
