/** Options and health of the credential manager. */
import type { RefusalReport } from '../access-log/report.ts';
import type { BrokerClient } from './broker-client.ts';
import type { ProofSource } from './discover.ts';

/** How the lease was renewed: by an edge, or over HTTPS. */
export type LeaseWay = 'channel' | 'https';

export interface Health {
  /** Time of the broker's last response, milliseconds since the epoch. */
  readonly brokerAnsweredAt: number;
  /** Last failure of each task, until the task next succeeds. */
  readonly failures: Readonly<Record<string, string>>;
  /** How the lease was last renewed, and since when that way. Opening a session counts as HTTPS. */
  readonly lease: { readonly by: LeaseWay; readonly since: number };
}

export interface CredentialManagerOptions {
  readonly client: BrokerClient;
  readonly source: ProofSource;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Returns a number in [0, 1). */
  readonly random: () => number;
  /** Called after every change. @param what the part that changed */
  readonly onChange: (what: Change) => void;
  /** Called each time the broker completes a request over HTTPS. */
  readonly onBrokerAnswer?: () => void;
  /** Renews the current session's lease over HTTPS, and calls `leaseRenewed` or `sessionEnded`. */
  readonly renewLease: () => Promise<void>;
  /** Requests the current session's configuration over HTTPS. */
  readonly fetchConfiguration: () => Promise<void>;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  /** Refusals to report, at most once per lease renewal. */
  readonly report: Pick<RefusalReport, 'isEmpty' | 'send' | 'sessionChanged'>;
}

export type Change = 'session' | 'svids' | 'services' | 'token';
