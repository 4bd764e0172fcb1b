/** Drives an adversarial client on a host of the lab from a test or the quickstart. */
import type { Answer } from '@meshpass/cli/broker/request';
import type { TunnelReport, TunnelRequest } from '@meshpass/cli/drill/tunnel';
import type { Lab } from '../lab.ts';
import { startOrdered } from '../ordered-process.ts';
import type { Holder, Svid } from './holder.ts';
import type { InvalidPresence } from './invalid-presence.ts';
import type { InvalidProof } from './invalid-proofs.ts';
import type { Order, Renewal } from './main.ts';

export interface Shown {
  readonly sessionToken: string;
  readonly roots: readonly string[];
  readonly svids: Readonly<Record<string, Svid>>;
  readonly identityToken?: string;
}

export interface AdversarialClient {
  /** Host that runs it: a Codespace that it enrols as must exist. */
  readonly host: string;
  /** Answers the broker's challenge on this host as an agent does, but for the faults. */
  enrol(form: Record<string, string>, faults?: InvalidProof, presence?: InvalidPresence): Promise<Answer>;
  certificate(grant: string, csr?: string, faults?: InvalidProof): Promise<Answer>;
  token(audience?: string, faults?: InvalidProof): Promise<Answer>;
  speak(
    method: string,
    path: string,
    body?: { json?: unknown; form?: Record<string, string>; headers?: Record<string, string> },
    faults?: InvalidProof,
  ): Promise<Answer>;
  /** Renews the lease by one proof, as an agent does over HTTPS. */
  renew(): Promise<Renewal>;
  ask(method: string, url: string, options?: { headers?: Record<string, string>; body?: string }): Promise<Answer>;
  tunnel(order: TunnelRequest): Promise<TunnelReport>;
  /** A tunnel that stays open once `send` has been answered. */
  hold(order: TunnelRequest & { readonly send: string }): Promise<TunnelReport>;
  /** Resolves when the held tunnel dies, with the instant: Unix milliseconds. */
  cut(): Promise<number>;
  /** A certificate request, PEM, of the key that the session is bound to. */
  csrOfSessionKey(): Promise<string>;
  /** All that it holds. Lab only. */
  show(): Promise<Shown>;
  /** Somebody else's credentials, to misuse. */
  take(credentials: Partial<Shown & Pick<Holder, 'session'>>): Promise<void>;
  /** Runs the same process under another name: without credentials, with a new key. */
  as(name: string): AdversarialClient;
  end(): void;
}

/** @param broker base URL as that host sees it */
export function startAdversarialClient(lab: Lab, host: string, broker: string): AdversarialClient {
  const { order, kill } = startOrdered<Order>(
    lab,
    host,
    new URL('./main.ts', import.meta.url),
    'the adversarial client',
  );
  const named = (name: string): AdversarialClient => {
    const base = { as: name, broker };
    return {
      host,
      enrol: (form, faults, presence) =>
        order({ ...base, do: 'enrol', form, ...(faults && { faults }), ...(presence && { presence }) }),
      certificate: (grant, csr, faults) =>
        order({ ...base, do: 'certificate', grant, ...(csr !== undefined && { csr }), ...(faults && { faults }) }),
      token: (audience, faults) =>
        order({ ...base, do: 'token', ...(audience !== undefined && { audience }), ...(faults && { faults }) }),
      speak: (method, path, body, faults) =>
        order({ ...base, do: 'speak', method, path, ...body, ...(faults && { faults }) }),
      renew: () => order({ ...base, do: 'renew' }),
      ask: (method, url, options) => order({ ...base, do: 'ask', method, url, ...options }),
      tunnel: (tunnelOrder) => order({ ...base, do: 'tunnel', ...tunnelOrder }),
      hold: (tunnelOrder) => order({ ...base, do: 'hold', ...tunnelOrder }),
      cut: () => order({ ...base, do: 'cut' }),
      csrOfSessionKey: () => order({ ...base, do: 'csr-of-session-key' }),
      show: () => order({ ...base, do: 'show' }),
      take: (credentials) => order({ ...base, do: 'take', credentials }),
      as: named,
      end: kill,
    };
  };
  return named('rogue');
}
