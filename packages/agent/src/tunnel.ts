/**
 * Tunnels to services: outer TLS to the edge, inner TLS to the workload, both with the grant's SVID. A few outer
 * connections wait ready, and an inner one that a finished client left behind is given to the next: a new connection
 * then costs no handshake.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { SecureContext, TLSSocket } from 'node:tls';
import { MeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';
import { connectToEdge, type EdgeAddress, requestTunnel } from './edge-connection.ts';
import { secureInside, type TlsSession } from './inner-tls.ts';
import { SharedConnections } from './shared-connections.ts';
import { WaitingSockets } from './waiting-sockets.ts';

/** What Envoy reads from the ALPN of a connection: which kind of rules it evaluates, and which codec it uses. */
export type TunnelKind = 'http1' | 'http2' | 'tcp';

const ALPN: Readonly<Record<TunnelKind, string[]>> = {
  http1: ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  tcp: ['istio'],
};

/** One grant's SVID, ready for use. `generation` differs after every renewal and every change of the roots. */
export interface TunnelIdentity {
  readonly generation: number;
  /** When it was made, by performance.now(). */
  readonly madeAt: number;
  /** Towards the edge: public roots. */
  readonly outer: SecureContext;
  /** Towards the workload: the roots of the mesh. */
  readonly inner: SecureContext;
}

export interface TunnelsOptions {
  readonly edge: () => EdgeAddress;
  /** @throws MeshpassError agent_credentials_expired */
  readonly identity: (grant: string) => TunnelIdentity;
  /** Outer connections kept ready per grant in use. */
  readonly warm?: number;
  /** Milliseconds an outer connection waits, below the edge's idle limit. */
  readonly warmFor?: number;
  /** Milliseconds a finished inner connection waits for the next client. */
  readonly parkFor?: number;
  /** Milliseconds for each of: outer connection, CONNECT, inner handshake. */
  readonly timeout?: number;
  /** Most tunnels open at once; the edge has its own limit for a session. */
  readonly limit?: number;
}

const MAX_SESSIONS = 256;
const MAX_PARKED = 4;
/** Milliseconds since its last use in which a grant's connections are kept ready. */
const IN_USE = 300_000;
/** Milliseconds that the edge may take to hear of a session, and between two tries. */
const NEWS_TIME = 1500;
const NEWS_RETRY = 50;

export class Tunnels {
  readonly #options: Required<TunnelsOptions>;
  readonly #outer = new WaitingSockets();
  readonly #parked = new WaitingSockets();
  readonly #sessions = new Map<string, TlsSession>();
  readonly #open = new Set<TLSSocket>();
  readonly #lastUse = new Map<string, number>();
  readonly #filling = new Set<string>();
  #closed = false;
  /** HTTP/2 connections that carry requests of many local HTTP/1.1 clients. */
  readonly shared: SharedConnections;

  constructor(options: TunnelsOptions) {
    this.#options = { warm: 2, warmFor: 120_000, parkFor: 10_000, timeout: 10_000, limit: 240, ...options };
    this.shared = new SharedConnections({
      open: (service) => this.open(service, 'http2', true),
      generation: (service) => this.#options.identity(service.grant).generation,
      keyOf: (service) => parkKey(service, 'http2'),
      idleFor: this.#options.parkFor,
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * A connection to the workload behind a service, authenticated both ways.
   * @param fresh not one that an earlier client left behind
   * @throws MeshpassError tunnel_..., agent_edge_unreachable, agent_peer_untrusted, agent_credentials_expired
   */
  async open(service: ReachableService, kind: TunnelKind, fresh = false): Promise<TLSSocket> {
    const identity = this.#options.identity(service.grant);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#openUnder(identity, service, kind, fresh);
      } catch (error) {
        // The broker's word of a new session may reach the edge a moment after the agent does.
        const young = performance.now() - identity.madeAt < NEWS_TIME;
        if (!young || !(error instanceof MeshpassError) || error.code !== 'tunnel_session_unknown') throw error;
        if (attempt * NEWS_RETRY >= NEWS_TIME) throw error;
        await sleep(NEWS_RETRY);
      }
    }
  }

  async #openUnder(
    identity: TunnelIdentity,
    service: ReachableService,
    kind: TunnelKind,
    fresh: boolean,
  ): Promise<TLSSocket> {
    this.#lastUse.set(service.grant, performance.now());
    const parked = fresh ? undefined : this.#parked.take(parkKey(service, kind), identity.generation);
    if (parked) return parked;
    if (this.#open.size >= this.#options.limit) {
      throw new MeshpassError(
        'tunnel_limit',
        `This workspace has ${this.#open.size} connections to the mesh open; close some.`,
      );
    }
    if (service.spiffe_ids.length === 0) {
      throw new MeshpassError(
        'agent_peer_untrusted',
        `No workload runs behind ${service.host}:${service.port} now, so there is no identity to expect of it.`,
      );
    }
    const edge = this.#options.edge();
    const outer = await this.#connectedOuter(service.grant, identity, edge, service);
    return this.#innerTls(outer, service, kind, identity);
  }

  /** Gives back a connection that rests between two HTTP/1.1 exchanges. */
  park(service: ReachableService, kind: TunnelKind, socket: TLSSocket): void {
    const key = parkKey(service, kind);
    const generation = generationOf.get(socket);
    if (this.#closed || this.#parked.count(key) >= MAX_PARKED || generation === undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    this.#parked.add(key, socket, generation, this.#options.parkFor);
  }

  /** Prepares for a first call: an outer connection for the grant and an inner one for the service. */
  async prepare(service: ReachableService): Promise<void> {
    if (service.spiffe_ids.length === 0) return;
    const kind: TunnelKind = service.protocol === 'http' ? 'http1' : service.protocol === 'http2' ? 'http2' : 'tcp';
    if (kind === 'http1') this.park(service, kind, await this.open(service, kind));
    else this.#refill(service.grant);
  }

  /** Drops what waits under a credential that has been replaced. */
  refresh(): void {
    this.#outer.dropAll();
    this.#parked.dropAll();
    this.shared.drainAll();
    this.#sessions.clear();
    for (const grant of this.#lastUse.keys()) if (this.#usedWithin(grant, IN_USE)) this.#refill(grant);
  }

  /** Services may expect other workloads now: connections to the earlier ones are not given out again. */
  servicesChanged(): void {
    this.#parked.dropAll();
    this.shared.drainAll();
  }

  /** Ends every connection. */
  close(): void {
    this.#closed = true;
    this.refresh();
    for (const socket of this.#open) socket.destroy();
  }

  async #connectedOuter(grant: string, identity: TunnelIdentity, edge: EdgeAddress, service: ReachableService) {
    const timeout = this.#options.timeout;
    const warm = this.#outer.take(grant, identity.generation);
    if (warm) {
      this.#refill(grant);
      try {
        await requestTunnel(warm, edge, service, timeout);
        return warm;
      } catch (error) {
        // One that waited may have been closed meanwhile: a fresh one decides.
        if (!(error instanceof MeshpassError) || error.code !== 'agent_edge_unreachable') throw error;
      }
    }
    const socket = await this.#connectOuter(grant, identity, edge);
    if (!warm) this.#refill(grant);
    await requestTunnel(socket, edge, service, timeout);
    return socket;
  }

  #connectOuter(grant: string, identity: TunnelIdentity, edge: EdgeAddress): Promise<TLSSocket> {
    const key = `edge ${grant} ${identity.generation}`;
    return connectToEdge({
      edge,
      context: identity.outer,
      session: this.#sessions.get(key)?.ticket,
      onSession: (ticket) => this.#remember(key, { ticket, peer: undefined }),
      timeout: this.#options.timeout,
    });
  }

  async #innerTls(
    outer: TLSSocket,
    service: ReachableService,
    kind: TunnelKind,
    identity: TunnelIdentity,
  ): Promise<TLSSocket> {
    const key = `${parkKey(service, kind)} ${identity.generation}`;
    const session = this.#sessions.get(key);
    try {
      const inner = await secureInside({
        outer,
        service,
        alpn: ALPN[kind],
        context: identity.inner,
        session,
        onSession: (fresh) => this.#remember(key, fresh),
        timeout: this.#options.timeout,
      });
      this.#open.add(inner);
      inner.once('close', () => this.#open.delete(inner));
      generationOf.set(inner, identity.generation);
      return inner;
    } catch (error) {
      this.#sessions.delete(key); // what could not be resumed is not tried again
      throw error;
    }
  }

  #remember(key: string, session: TlsSession): void {
    if (this.#sessions.size >= MAX_SESSIONS) this.#sessions.delete(this.#sessions.keys().next().value!);
    this.#sessions.set(key, session);
  }

  #refill(grant: string): void {
    if (this.#closed || this.#outer.count(grant) >= this.#options.warm || this.#filling.has(grant)) return;
    let identity: TunnelIdentity;
    try {
      identity = this.#options.identity(grant);
    } catch {
      return;
    }
    this.#filling.add(grant);
    this.#connectOuter(grant, identity, this.#options.edge()).then(
      (socket) => {
        this.#filling.delete(grant);
        if (this.#closed) return void socket.destroy();
        this.#outer.add(grant, socket, identity.generation, this.#options.warmFor, () => {
          if (this.#usedWithin(grant, IN_USE)) this.#refill(grant);
        });
        this.#refill(grant);
      },
      // The next call meets the same failure and tells it.
      () => this.#filling.delete(grant),
    );
  }

  #usedWithin(grant: string, milliseconds: number): boolean {
    return performance.now() - (this.#lastUse.get(grant) ?? Number.NEGATIVE_INFINITY) < milliseconds;
  }
}

/** Under which credential an inner connection was made. */
const generationOf = new WeakMap<TLSSocket, number>();

/** A connection made while another workload was expected is not the same. */
function parkKey(service: ReachableService, kind: TunnelKind): string {
  return `${service.grant} ${service.host}:${service.port} ${kind} ${service.spiffe_ids.join()}`;
}
