/** Carries one local connection to a service of the mesh, in the protocol that its first bytes speak. */
import type { Socket } from 'node:net';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import type { ReachableService } from '@meshpass/identity/wire';
import { carryHttp1 } from './carry-http1.ts';
import { carryBytes } from './carry-tcp.ts';
import type { RequestHead } from './http1.ts';
import { HTTP2_PREFACE, Http2Requests, neverIndexedField } from './http2.ts';
import { RequestTranslator } from './http2-request.ts';
import { notGranted } from './refusal.ts';
import type { HttpCarrier, Route } from './route.ts';
import type { TunnelKind, Tunnels } from './tunnel.ts';

export interface Mesh {
  readonly tunnels: Tunnels;
  readonly tokenHeader: string;
  readonly sessionId: string;
  /**
   * The identity token that is valid now.
   * @throws MeshpassError agent_credentials_expired
   */
  identityToken(): string;
  /** The services that this session may reach now. */
  readonly services: readonly ReachableService[];
  /** Why a connection ended that has no room for a text; `meshpass status` tells. */
  untold(service: ReachableService, error: MeshpassError): void;
}

/**
 * @param mesh asked anew for every connection and request: sessions and services change
 * @param client an accepted connection, not yet read
 */
export function carryToService(client: Socket, service: ReachableService, mesh: () => Mesh, first?: Buffer): void {
  client.setNoDelay(true);
  if (service.protocol === 'tcp') {
    carryTunnel(client, service, 'tcp', mesh, first);
    return;
  }
  const onFirst = (bytes: Buffer) => {
    client.pause();
    client.off('error', onError).off('end', onEarlyEnd);
    // Three bytes tell HTTP/2 from every HTTP/1.1 method; fewer than three come only from a client typed by hand.
    if (bytes.length >= 3 && HTTP2_PREFACE.subarray(0, 3).equals(bytes.subarray(0, 3))) {
      carryHttp2(client, service, mesh, bytes);
    } else {
      carryHttp1(client, byName(service, mesh), bytes);
      client.resume();
    }
  };
  const onError = () => client.destroy();
  const onEarlyEnd = () => client.end();
  client.on('error', onError);
  if (first?.length) onFirst(first);
  else client.once('data', onFirst).once('end', onEarlyEnd);
}

/** Requests to one service under one of its own names; anything else came through a forwarded port. */
export function byName(service: ReachableService, mesh: () => Mesh): HttpCarrier {
  const names = new Set([service.host, ...service.aliases]);
  const usual = new Set([...names, ...[...names].map((name) => `${name}:${service.port}`)]);
  let known: readonly ReachableService[] | undefined;
  let current = service;
  return {
    tokenHeader: mesh().tokenHeader,
    sessionId: mesh().sessionId,
    route: (head) => {
      for (const authority of [head.host, head.forwardedHost, absoluteAuthority(head.target)]) {
        if (authority === undefined || usual.has(authority) || isOwn(authority, names, service.port)) continue;
        throw foreignHost(authority, service);
      }
      const { services } = mesh();
      if (services !== known) {
        // What is granted, and which workload is expected, may have changed while the client kept its connection.
        const found = services.find(({ host, port }) => host === service.host && port === service.port);
        if (!found) throw notGranted(`${service.host}:${service.port}`, services);
        current = found;
        known = services;
      }
      return serviceRoute(head, current, mesh, head.target);
    },
  };
}

/**
 * Where a request to a service goes, with the identity token of this moment.
 * @param target what the request line names towards the service
 * @param lines the header lines to send on, where they are not the request's own
 */
export function serviceRoute(
  head: RequestHead,
  service: ReachableService,
  mesh: () => Mesh,
  target: string,
  lines?: string,
): Route {
  if (head.method === 'CONNECT')
    throw new MeshpassError('request_malformed', 'CONNECT is for proxies; this is a service.');
  const { tunnels, tokenHeader, identityToken } = mesh();
  const { shared } = tunnels;
  const inserted = `${tokenHeader}: ${identityToken()}\r\n`;
  return {
    key: routeKey(service),
    target,
    inserted,
    ...(lines !== undefined && { lines }),
    service,
    underWay: shared.underWay(service),
    share: () => {
      const taken = shared.take(service);
      const request = taken && translator.translate(head, target, lines ?? head.lines, inserted);
      if (!request) return undefined;
      if (!(taken instanceof Promise)) return { connection: taken, request };
      return taken.then((connection) => connection && { connection, request });
    },
    connect: (fresh) => tunnels.open(service, 'http1', fresh),
    release: (socket) => tunnels.park(service, 'http1', socket as Awaited<ReturnType<Tunnels['open']>>),
  };
}

const translator = new RequestTranslator();

/** A connection serves as long as the service is the same and so is the workload that may stand behind it. */
function routeKey(service: ReachableService): string {
  let key = routeKeys.get(service);
  if (key === undefined) {
    key = `${service.grant} ${service.host}:${service.port} ${service.spiffe_ids.join()}`;
    routeKeys.set(service, key);
  }
  return key;
}
const routeKeys = new WeakMap<ReachableService, string>();

function carryHttp2(client: Socket, service: ReachableService, mesh: () => Mesh, first: Buffer): void {
  const requests = new Http2Requests(() => neverIndexedField(mesh().tokenHeader, mesh().identityToken()));
  carryTunnel(client, service, 'http2', mesh, first, (chunk) => requests.transform(chunk));
}

function carryTunnel(
  client: Socket,
  service: ReachableService,
  kind: TunnelKind,
  mesh: () => Mesh,
  first: Buffer | undefined,
  transform?: (chunk: Buffer) => Buffer,
): void {
  client.pause();
  client.on('error', () => client.destroy());
  mesh()
    .tunnels.open(service, kind)
    .then(
      (upstream) => {
        if (client.destroyed) return void upstream.destroy();
        carryBytes(client, upstream, first, transform);
        client.resume();
      },
      // Neither raw TCP nor HTTP/2 before its settings has room for a text.
      (error) => {
        mesh().untold(service, toMeshpassError(error));
        client.destroy();
      },
    );
}

function isOwn(authority: string, names: ReadonlySet<string>, port: number): boolean {
  const [name, ownPort, more] = authority.toLowerCase().split(':');
  if (more !== undefined || !names.has(name!)) return false;
  return ownPort === undefined || ownPort === String(port);
}

/** The authority of an absolute-form target (RFC 9112 section 3.2.2), which outranks Host. */
function absoluteAuthority(target: string): string | undefined {
  if (target.startsWith('/') || target === '*') return undefined;
  return /^https?:\/\/([^/?#]*)/i.exec(target)?.[1] ?? target;
}

function foreignHost(authority: string, service: ReachableService): MeshpassError {
  return new MeshpassError(
    'agent_foreign_host',
    `This address answers for ${service.host}:${service.port} only, not for ${authority.slice(0, 200)}. ` +
      'A forwarded port of this workspace does not reach the mesh.',
  );
}
