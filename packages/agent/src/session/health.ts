/** What the credential manager is given, and what it tells. */
import type { RefusalReport } from '../access-log/report.ts';
import type { BrokerClient } from './broker-client.ts';
import type { ProofSource } from './discover.ts';
import type { Credentials } from './enrol.ts';

export interface Health {
  /** When the broker last answered, milliseconds since the epoch. */
  readonly brokerAnsweredAt: number;
  /** The last failure, until the next success of the same task. */
  readonly failures: Readonly<Record<string, string>>;
  /** The way by which the lease was renewed last, and when that began; opening the session counts as HTTPS. */
  readonly lease: { readonly by: 'channel' | 'https'; readonly since: number };
}

export interface CredentialManagerOptions {
  readonly client: BrokerClient;
  readonly source: ProofSource;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Called after every change; `what` tells which part is new. */
  readonly onChange: (what: Change) => void;
  /** Told of each time that the broker did over HTTPS what it was asked for. */
  readonly onBrokerAnswer?: () => void;
  /** Told which version of the configuration the broker has now, where the lease is renewed over HTTPS. */
  readonly onConfigurationVersion?: (version: number) => void;
  /** Whether a control channel renews the lease of such a session, and says when it does not; absent: there is none. */
  readonly hasChannel?: (credentials: Credentials) => boolean;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  /** What goes along with a heartbeat; where a channel renews the lease, it is what a heartbeat is sent for. */
  readonly report: Pick<RefusalReport, 'isEmpty' | 'send' | 'sessionChanged'>;
}

export type Change = 'session' | 'svids' | 'services' | 'token';
