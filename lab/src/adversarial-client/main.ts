/**
 * The adversarial client as a process of its own, for hosts of the lab: a JSON order a line on standard input, a JSON report a line
 * on standard output. Lab only. Its credentials never leaves the process but by `show`.
 */
import { createInterface } from 'node:readline';
import { ask } from '@meshpass/cli/broker/ask';
import {
  callBroker,
  createEmptyCredentials,
  type DrillCredentials,
  enrol,
  requestCertificate,
  requestToken,
} from '@meshpass/cli/drill/credentials';
import { renewLease } from '@meshpass/cli/drill/renew-lease';
import {
  openTunnel,
  probeTunnel,
  sendAndRead,
  type TunnelReport,
  type TunnelRequest,
} from '@meshpass/cli/drill/tunnel';
import { createCsr } from '@meshpass/identity/csr';
import { type InvalidPresence, respondWith } from './invalid-presence.ts';
import { type InvalidProof, invalidProof } from './invalid-proofs.ts';

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
  | { readonly do: 'take'; readonly credentials: Partial<DrillCredentials> }
);

const everything = new Map<string, DrillCredentials>();
const held = new Map<string, Promise<number>>();

for await (const line of createInterface({ input: process.stdin })) {
  const { id, order } = JSON.parse(line) as { id: number; order: Order };
  obey(order).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error: Error) => console.log(JSON.stringify({ id, error: error.message })),
  );
}

function obey(order: Order): Promise<unknown> {
  let credentials = everything.get(order.as);
  if (!credentials) {
    credentials = createEmptyCredentials(order.broker);
    everything.set(order.as, credentials);
  }
  switch (order.do) {
    case 'enrol':
      return enrol(credentials, order.form, invalidProof(order.faults), order.presence && respondWith(order.presence));
    case 'certificate':
      return requestCertificate(credentials, order.grant, order.csr, invalidProof(order.faults));
    case 'token':
      return requestToken(credentials, order.audience, invalidProof(order.faults));
    case 'speak':
      return callBroker(
        credentials,
        order.method,
        order.path,
        {
          json: order.json,
          ...(order.form && { form: order.form }),
          ...(order.headers && { headers: order.headers }),
        },
        invalidProof(order.faults),
      );
    case 'renew':
      return renewLease(credentials);
    case 'ask':
      return ask(order.url, order);
    case 'tunnel':
      return probeTunnel(credentials, order);
    case 'hold':
      return hold(credentials, order);
    case 'cut':
      return held.get(order.as) ?? Promise.reject(new Error('nothing is held'));
    case 'csr-of-session-key':
      return Promise.resolve(createCsr(credentials.dpop.privateKey));
    case 'show': {
      const { sessionToken, roots, svids, identityToken } = credentials;
      return Promise.resolve({ sessionToken, roots, svids, identityToken });
    }
    case 'take':
      Object.assign(credentials, order.credentials);
      return Promise.resolve({});
  }
}

async function hold(
  credentials: DrillCredentials,
  order: TunnelRequest & { readonly as: string; readonly send: string },
): Promise<TunnelReport> {
  const opened = await openTunnel(credentials, order);
  if (!('socket' in opened)) return opened;
  const { socket } = opened;
  held.set(order.as, new Promise((resolve) => socket.once('close', () => resolve(Date.now()))));
  socket.on('error', () => {});
  return { stage: 'answer', answer: await sendAndRead(socket, order.send) };
}
