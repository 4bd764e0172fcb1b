/** What the agent tells about itself. Nothing in it is secret. */

export interface AgentStatus {
  readonly pid: number;
  readonly version: string;
  readonly session: {
    readonly id: string;
    readonly subject: string;
    readonly login: string;
    readonly workspace: string;
    readonly grants: readonly string[];
    /** Milliseconds since the epoch, as all times here. */
    readonly expiresAt: number;
  };
  readonly credentials: {
    readonly svids: readonly { readonly grant: string; readonly spiffeId: string; readonly expiresAt: number }[];
    readonly identityTokenExpiresAt: number;
  };
  readonly services: readonly ServiceStatus[];
  readonly proxy: { readonly host: '127.0.0.1'; readonly port: number };
  readonly broker: {
    readonly url: string;
    readonly answeredAt: number;
    /** The last failure of each task that has not succeeded since. */
    readonly failures: Readonly<Record<string, string>>;
  };
  readonly tunnels: number;
  /** Those of them that carry requests of several clients at once. */
  readonly shared: number;
  /** The last connection to each service that ended without room to say why (raw TCP). */
  readonly untold: readonly {
    readonly service: string;
    readonly at: number;
    readonly code: string;
    readonly message: string;
  }[];
  /** What does not work here, and what to do instead. */
  readonly notes: readonly string[];
  /** Milliseconds from the start of the process until it was ready. */
  readonly readyAfter: number;
}

export interface ServiceStatus {
  readonly grant: string;
  readonly host: string;
  readonly port: number;
  readonly names: readonly string[];
  readonly protocol: 'http' | 'http2' | 'tcp';
  readonly allow?: readonly string[];
  /** Own loopback address, where the service is reached by name. */
  readonly address?: string;
}
