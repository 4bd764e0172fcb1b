/** Invalid answers to a presence challenge. Lab only. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { generateDpopKey } from '@meshpass/agent/session/enrol';
import { createPresenceProof } from '@meshpass/identity';
import type { PresenceRequest, PresenceResponder } from './holder.ts';

/** Overrides of the true answer; omitted members stay true. */
export interface InvalidPresence {
  /** Gives the broker's first refusal back, and answers nothing. */
  readonly ignore?: boolean;
  /** Signed with another key than the exchange's. */
  readonly otherKey?: boolean;
  readonly broker?: string;
  readonly codespace?: string;
  readonly nonce?: string;
  readonly path?: string;
  /** Seconds from now. */
  readonly expiresIn?: number;
  /** Members added to the JWS header; the signature stays unchanged. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Whether one bit of the signature is flipped. */
  readonly tampered?: boolean;
  /** Answer of the port; by default the signed answer. */
  readonly serve?: 'echo' | 'nothing' | 'huge' | 'never' | 'dripping' | 'hang up' | { readonly body: string };
  /** In front of the signed answer, and behind it. */
  readonly around?: readonly [string, string];
  readonly status?: number;
  readonly location?: string;
  /** Headers that the port answers with. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Overrides of nonce and port in the second exchange. */
  readonly sentNonce?: string;
  readonly sentPort?: string;
  /** Nothing listens. */
  readonly closed?: boolean;
}

const DRIP_MS = 200;

/** @returns null if the challenge must be ignored */
export function respondWith(faults: InvalidPresence): PresenceResponder | null {
  if (faults.ignore) return null;
  return async (asked) => {
    const server = createServer(listenerFor(faults, answerTo(asked, faults)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const close = () => {
      server.close();
      server.closeAllConnections();
    };
    if (faults.closed) close();
    return {
      members: {
        presence_nonce: faults.sentNonce ?? asked.challenge.nonce,
        presence_port: faults.sentPort ?? String(port),
      },
      close,
    };
  };
}

function answerTo({ challenge, codespaceName, holder }: PresenceRequest, faults: InvalidPresence): string {
  const jws = createPresenceProof({
    key: faults.otherKey ? generateDpopKey() : holder.dpop,
    challenge: { nonce: faults.nonce ?? challenge.nonce, path: faults.path ?? challenge.path },
    broker: faults.broker ?? holder.broker,
    codespaceName: faults.codespace ?? codespaceName,
    expiresAt: Math.floor(Date.now() / 1000) + (faults.expiresIn ?? challenge.expires_in),
  });
  const [before, after] = faults.around ?? ['', ''];
  const [header, claims, signed] = jws.split('.');
  const rest = [claims, faults.tampered ? tampered(signed!) : signed];
  const changed = { ...JSON.parse(Buffer.from(header!, 'base64url').toString()), ...faults.header };
  return before + [Buffer.from(JSON.stringify(changed)).toString('base64url'), ...rest].join('.') + after;
}

function tampered(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url');
  bytes[9]! ^= 1;
  return bytes.toString('base64url');
}

function listenerFor({ serve, status = 200, location, headers }: InvalidPresence, answer: string): RequestListener {
  return (request, response) => {
    const head = { ...headers, ...(location !== undefined && { location }) };
    if (serve === 'hang up') return void request.socket.destroy();
    if (serve === 'never') return;
    response.writeHead(status, head);
    if (serve === 'dripping') return void drip(response);
    if (serve === 'huge') return void response.end('a'.repeat(1_048_576));
    if (serve === 'echo')
      return void response.end(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
    if (serve === 'nothing') return void response.end();
    response.end(typeof serve === 'object' ? serve.body : answer);
  };
}

/** A byte now and then, and never an end. */
function drip(response: { write: (text: string) => unknown; on: (event: 'close', then: () => void) => unknown }): void {
  const timer = setInterval(() => response.write('a'), DRIP_MS);
  response.on('close', () => clearInterval(timer));
}
