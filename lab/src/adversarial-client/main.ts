/**
 * The adversarial client as a process of its own, for hosts of the lab: a JSON order a line on standard input, a JSON report a line
 * on standard output. Lab only. Its credentials never leaves the process but by `show`.
 */
import { createInterface } from 'node:readline';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { ask } from '@meshpass/cli/broker/request';
import { renewLease } from '@meshpass/cli/drill/session';
import {
  openTunnel,
  probeTunnel,
  sendAndRead,
  type TunnelReport,
  type TunnelRequest,
} from '@meshpass/cli/drill/tunnel';
import { createCsr, type ErrorCode, toMeshpassError } from '@meshpass/identity';
import type { EndedStatement, LeaseStatement } from '@meshpass/identity/channel';
import {
  emptyHanded,
  enrol,
  type Holder,
  requestCertificate,
  requestToken,
  speak,
  tunnelCredentials,
} from './holder.ts';
import { type InvalidPresence, respondWith } from './invalid-presence.ts';
import { type InvalidProof, invalidProof } from './invalid-proofs.ts';

/** The broker's signed statement, or the code of its refusal. */
export type Renewal = LeaseStatement | EndedStatement | { readonly kind: 'refused'; readonly code: ErrorCode };

/** Every order names whose credentials it works with (`as`); an unknown name begins empty-handed. */
export type Order = { readonly as: string; readonly broker: string } & (
  | {
      readonly do: 'enrol';
      readonly form: Record<string, string>;
      readonly faults?: InvalidProof;
      readonly presence?: InvalidPresence;
    }
  | { readonly do: 'certificate'; readonly grant: string; readonly csr?: string; readonly faults?: InvalidProof }
  | { readonly do: 'token'; readonly audience?: string; readonly faults?: InvalidProof }
  | {
      readonly do: 'speak';
      readonly method: string;
      readonly path: string;
      readonly json?: unknown;
      readonly form?: Record<string, string>;
      readonly headers?: Record<string, string>;
      readonly faults?: InvalidProof;
    }
  | { readonly do: 'renew' }
  | {
      readonly do: 'ask';
      readonly method: string;
      readonly url: string;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  | ({ readonly do: 'tunnel' } & TunnelRequest)
  /** A tunnel that stays open after `send` has been answered. */
  | ({ readonly do: 'hold'; readonly send: string } & TunnelRequest)
  /** When the tunnel that is held dies, Unix milliseconds. */
  | { readonly do: 'cut' }
  /** A certificate request of the session's own key. */
  | { readonly do: 'csr-of-session-key' }
  | { readonly do: 'show' }
  | { readonly do: 'take'; readonly credentials: Partial<Holder> }
);

const everything = new Map<string, Holder>();
const held = new Map<string, Promise<number>>();

for await (const line of createInterface({ input: process.stdin })) {
  const { id, order } = JSON.parse(line) as { id: number; order: Order };
  obey(order).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error: Error) => console.log(JSON.stringify({ id, error: error.message })),
  );
}

function obey(order: Order): Promise<unknown> {
  const holder = everything.get(order.as) ?? emptyHanded(order.broker);
  everything.set(order.as, holder);
  switch (order.do) {
    case 'enrol':
      return enrol(holder, order.form, invalidProof(order.faults), respondWith(order.presence ?? {}));
    case 'certificate':
      return requestCertificate(holder, order.grant, order.csr, invalidProof(order.faults));
    case 'token':
      return requestToken(holder, order.audience, invalidProof(order.faults));
    case 'speak':
      return speak(holder, order, invalidProof(order.faults));
    case 'renew':
      return renew(holder);
    case 'ask':
      return ask(order.url, order);
    case 'tunnel':
      return probeTunnel(tunnelCredentials(holder), order);
    case 'hold':
      return hold(holder, order);
    case 'cut':
      return held.get(order.as) ?? Promise.reject(new Error('nothing is held'));
    case 'csr-of-session-key':
      return Promise.resolve(createCsr(holder.dpop.privateKey));
    case 'show': {
      const { sessionToken, roots, svids, identityToken } = holder;
      return Promise.resolve({ sessionToken, roots, svids, identityToken });
    }
    case 'take':
      Object.assign(holder, order.credentials);
      return Promise.resolve({});
  }
}

async function renew({ broker: url, dpop: key, session }: Holder): Promise<Renewal> {
  if (!session) return { kind: 'refused', code: 'session_unknown' };
  const client = new BrokerClient({ url, key, now: Date.now });
  try {
    return await renewLease({ client, key, session, mesh: { statement_keys: session.statementKeys } });
  } catch (thrown) {
    return { kind: 'refused', code: toMeshpassError(thrown).code };
  } finally {
    client.close();
  }
}

async function hold(
  holder: Holder,
  order: TunnelRequest & { readonly as: string; readonly send: string },
): Promise<TunnelReport> {
  const opened = await openTunnel(tunnelCredentials(holder), order);
  if (!('socket' in opened)) return opened;
  const { socket } = opened;
  held.set(order.as, new Promise((resolve) => socket.once('close', () => resolve(Date.now()))));
  socket.on('error', () => {});
  return { stage: 'answer', answer: await sendAndRead(socket, order.send) };
}
