/** Drives a rogue on a host of the lab from a test or the quickstart. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Answer } from '@meshpass/cli/drill/ask';
import type { Svid } from '@meshpass/cli/drill/credentials';
import type { TunnelOrder, TunnelReport } from '@meshpass/cli/drill/tunnel';
import type { Lab } from '../lab.ts';
import type { DpopLies } from './lies.ts';
import type { Order } from './main.ts';

export interface Shown {
  readonly sessionToken: string;
  readonly roots: readonly string[];
  readonly svids: Readonly<Record<string, Svid>>;
  readonly identityToken?: string;
}

export interface Rogue {
  enrol(form: Record<string, string>, lies?: DpopLies): Promise<Answer>;
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
  const child = lab.spawn(host, ['node', fileURLToPath(new URL('./main.ts', import.meta.url))]);
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let next = 0;
  let stderr = '';
  child.stderr?.on('data', (part: Buffer) => {
    stderr = (stderr + part.toString()).slice(-4096);
  });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const { id, result, error } = JSON.parse(line) as { id: number; result?: never; error?: string };
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(result!);
    else waiter?.reject(new Error(error));
  });
  child.on('exit', (code) => {
    for (const waiter of waiting.values()) waiter.reject(new Error(`the rogue ended with ${code}: ${stderr}`));
  });

  const order = <T>(order: Order): Promise<T> => {
    const id = next++;
    return new Promise<T>((resolve, reject) => {
      waiting.set(id, { resolve: resolve as never, reject });
      child.stdin!.write(`${JSON.stringify({ id, order })}\n`);
    });
  };
  const named = (name: string): Rogue => {
    const base = { as: name, broker };
    return {
      enrol: (form, lies) => order({ ...base, do: 'enrol', form, ...(lies && { lies }) }),
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
      show: () => order({ ...base, do: 'show' }),
      take: (loot) => order({ ...base, do: 'take', loot }),
      as: named,
      end: () => child.kill('SIGKILL'),
    };
  };
  return named('rogue');
}
