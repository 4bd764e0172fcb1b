/**
 * Stand-in for GitHub's port forwarding: `https://NAME-PORT.app.github.dev`, for private ports. According to GitHub's documentation
 * ("Forwarding ports in your codespace"), a request with X-Github-Token of a person with access to the Codespace gets
 * through, and people are sent to sign in. The status for a stranger's token is a guess.
 */
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Codespace, State } from './state.ts';

/** `down`: refuses connections (start.ts). `sign-in`: accepts no token. `stalled`: never answers. */
export const FORWARDING_FAULTS = ['none', 'down', 'sign-in', 'stalled'] as const;
export type ForwardingFault = (typeof FORWARDING_FAULTS)[number];

/** A connection to a port of a host's loopback. */
export type ConnectTo = (host: string, port: number) => Duplex;

export interface ForwardingOptions {
  readonly state: () => State;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly connect: ConnectTo;
  readonly fault: () => ForwardingFault;
  /** Called with host and path of each request before its answer. */
  readonly called: (call: string) => void;
}

const HOST = /^([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)-([0-9]{1,5})\.app\.github\.dev$/;
/** Ports that accept no connection are not forwarded. */
const NOT_FORWARDED = 404;

export function createForwarding({ state, now, connect, fault, called }: ForwardingOptions) {
  return (incoming: IncomingMessage, answer: ServerResponse): void => {
    const host = String(incoming.headers.host ?? '').replace(/:\d+$/, '');
    called(`${incoming.method} ${host}${incoming.url}`);
    if (fault() === 'stalled') return;
    const [, name, port] = HOST.exec(host) ?? [];
    const space = state().codespaces.findLast((one) => one.name === name && one.state !== 'Deleted');
    const token = incoming.headers['x-github-token'];
    if (typeof token !== 'string' || fault() === 'sign-in') return void signIn(answer, host);
    if (space?.state !== 'Available' || !mayReach(token, space)) return void answer.writeHead(401).end();
    pass(incoming, answer, () => connect(space.host, Number(port)));
  };

  function mayReach(text: string, space: Codespace): boolean {
    const token = Object.hasOwn(state().tokens, text) ? state().tokens[text]! : undefined;
    // A private port is its developer's. GitHub does not document which of their tokens it accepts, so this accepts all of them.
    return token !== undefined && token.expiresAt > now() && token.userId === space.ownerId;
  }
}

function signIn(answer: ServerResponse, host: string): void {
  const location = `https://github.com/codespaces/auth/${host.split('.')[0]}?rd=https%3A%2F%2F${host}%2F`;
  answer.writeHead(302, { location }).end();
}

function pass(incoming: IncomingMessage, answer: ServerResponse, open: () => Duplex): void {
  // The port does not get the token, which was for the forwarding.
  const { 'x-github-token': _, ...headers } = incoming.headers;
  const sent = request(
    { createConnection: open as never, method: incoming.method, path: incoming.url, headers },
    (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(answer);
      response.on('error', () => answer.destroy());
    },
  );
  sent.on('error', () => {
    if (answer.headersSent) answer.destroy();
    else answer.writeHead(NOT_FORWARDED).end();
  });
  answer.on('close', () => sent.destroy());
  incoming.pipe(sent);
}
