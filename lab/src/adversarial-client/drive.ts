/** Drives a rogue on a host of the lab from a test or the quickstart. */
import type { Answer } from '@meshpass/cli/drill/ask';
import type { Svid } from '@meshpass/cli/drill/credentials';
import type { TunnelOrder, TunnelReport } from '@meshpass/cli/drill/tunnel';
import type { Lab } from '../lab.ts';
import { startOrdered } from '../ordered-process.ts';
import type { PresenceLies } from './invalid-presence.ts';
import type { DpopLies } from './invalid-proofs.ts';
import type { Order } from './main.ts';

export interface Shown {
  readonly sessionToken: string;
  readonly roots: readonly string[];
  readonly svids: Readonly<Record<string, Svid>>;
  readonly identityToken?: string;
}

export interface Rogue {
  /** Where it runs: a Codespace that it enrols as must be there. */
  readonly host: string;
  /** Answers the broker's challenge on this host as an agent does, but for the lies. */
  enrol(form: Record<string, string>, lies?: DpopLies, presence?: PresenceLies): Promise<Answer>;
  certificate(grant: string, csr?: string, lies?: DpopLies): Promise<Answer>;
  token(audience?: string, lies?: DpopLies): Promise<Answer>;
  speak(
    method: string,
    path: string,
    body?: { json?: unknown; form?: Record<string, string> },
    lies?: DpopLies,
  ): Promise<Answer>;
  ask(method: string, url: string, options?: { headers?: Record<string, string>; body?: string }): Promise<Answer>;
  tunnel(order: TunnelOrder): Promise<TunnelReport>;
  /** A tunnel that stays open once `send` has been answered. */
  hold(order: TunnelOrder & { readonly send: string }): Promise<TunnelReport>;
  /** Resolves when the held tunnel dies, with the instant: Unix milliseconds. */
  cut(): Promise<number>;
  /** A certificate request, PEM, of the key that the session is bound to. */
  csrOfSessionKey(): Promise<string>;
  /** All that it holds. Lab only. */
  show(): Promise<Shown>;
  /** Somebody else's credentials, to misuse. */
  take(loot: Partial<Shown>): Promise<void>;
  /** The same process under another name: empty-handed, with a key of its own. */
  as(name: string): Rogue;
  end(): void;
}

/** @param broker base URL as that host sees it */
export function startRogue(lab: Lab, host: string, broker: string): Rogue {
  const { order, kill } = startOrdered<Order>(lab, host, new URL('./main.ts', import.meta.url), 'the rogue');
  const named = (name: string): Rogue => {
    const base = { as: name, broker };
    return {
      host,
      enrol: (form, lies, presence) =>
        order({ ...base, do: 'enrol', form, ...(lies && { lies }), ...(presence && { presence }) }),
      certificate: (grant, csr, lies) =>
        order({ ...base, do: 'certificate', grant, ...(csr !== undefined && { csr }), ...(lies && { lies }) }),
      token: (audience, lies) =>
        order({ ...base, do: 'token', ...(audience !== undefined && { audience }), ...(lies && { lies }) }),
      speak: (method, path, body, lies) =>
        order({ ...base, do: 'speak', method, path, ...body, ...(lies && { lies }) }),
      ask: (method, url, options) => order({ ...base, do: 'ask', method, url, ...options }),
      tunnel: (tunnelOrder) => order({ ...base, do: 'tunnel', ...tunnelOrder }),
      hold: (tunnelOrder) => order({ ...base, do: 'hold', ...tunnelOrder }),
      cut: () => order({ ...base, do: 'cut' }),
      csrOfSessionKey: () => order({ ...base, do: 'csr-of-session-key' }),
      show: () => order({ ...base, do: 'show' }),
      take: (loot) => order({ ...base, do: 'take', loot }),
      as: named,
      end: kill,
    };
  };
  return named('rogue');
}
