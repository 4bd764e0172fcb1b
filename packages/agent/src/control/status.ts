/** Defines the status of the agent, which contains no secrets. */
import type { Refusal } from '../access-log/refusals.ts';
import type { ClusterState, ListenerState } from '../envoy/admin.ts';
import type { LeftOut } from '../session/broker-answers.ts';
import type { CertificateStatus } from '../session/granted.ts';
import type { SignInStatus } from '../sign-in/sign-ins.ts';

export interface AgentStatus extends DataPlaneStatus {
  readonly pid: number;
  readonly version: string;
  readonly session: {
    readonly id: string;
    readonly subject: string;
    readonly login: string;
    readonly workspace: string;
    readonly grants: readonly string[];
    /** When the session ends, in Unix milliseconds. All other times in this file use the same unit. */
    readonly expiresAt: number;
  };
  readonly credentials: {
    readonly svids: readonly CertificateStatus[];
    readonly identityTokenExpiresAt: number;
  };
  /** The developer's sign-ins at identity providers, in addition to the workspace's proof. */
  readonly signIns: readonly SignInStatus[];
  readonly services: readonly ServiceStatus[];
  /** The configuration of kubectl. Absent if no grant has Kubernetes roles. */
  readonly kubernetes?: KubernetesStatus;
  readonly broker: {
    readonly url: string;
    readonly answeredAt: number;
    /** The latest failure of each task that has not succeeded since then. */
    readonly failures: Readonly<Record<string, string>>;
  };
  /** The public address of the edge. */
  readonly edge?: { readonly host: string; readonly port: number };
  /** The contact for access requests. Absent if the access file does not specify one. */
  readonly contact?: string;
  readonly lease: {
    /**
     * How the lease is renewed: through the control channel of an edge, or over HTTPS to the broker if no edge provides
     * a channel.
     */
    readonly by: 'channel' | 'https';
    readonly since: number;
    /** The latest reason that an edge gave for not renewing a lease. It is not signed, so it is only a hint. */
    readonly refused?: { readonly code: string; readonly at: number };
  };
  /** How long it took from the start of the agent until it was ready, in milliseconds. */
  readonly readyAfter: number;
}

/** The state of Envoy and its configuration. */
export interface DataPlaneStatus {
  readonly envoy: {
    readonly version: string;
    /** The process ID of Envoy. Absent while Envoy is starting. */
    readonly pid?: number;
    readonly restarts: number;
    /** A description of how the previous Envoy process ended. */
    readonly lastEnd?: string;
    /** The listeners that programs can connect to. Empty if Envoy does not respond. */
    readonly listeners: readonly ListenerState[];
    readonly clusters: readonly ClusterState[];
  };
  readonly configuration: {
    /** The latest version that the agent has accepted from the broker. */
    readonly version?: number;
    /**
     * The reasons why the agent rejected the latest configuration and kept the previous one. Empty if it was accepted.
     */
    readonly refused: readonly string[];
    /** The resources that Envoy itself rejected, by kind. */
    readonly rejected: readonly string[];
    /** The parts of istiod's configuration that workspaces never accept, such as the filters of other teams. */
    readonly leftOut: readonly LeftOut[];
  };
  /**
   * Notices from edges that are about to end this workspace's tunnels. They are not signed. Absent if there were none.
   */
  readonly draining?: {
    /** When the latest notice arrived. */
    readonly at: number;
    /** How many times tunnels have been replaced because of a notice. */
    readonly replaced: number;
  };
  /** The latest refused requests and connections, starting with the newest. */
  readonly refusals: readonly Refusal[];
  readonly proxy: { readonly host: '127.0.0.1'; readonly port: number };
  /** The limitations of this workspace, each with a workaround. */
  readonly notes: readonly string[];
}

/** The configuration of kubectl for this session. */
export interface KubernetesStatus {
  /** The path of the kubeconfig file. */
  readonly kubeconfig: string;
  readonly contexts: readonly {
    readonly name: string;
    readonly grant: string;
    readonly server: string;
    /** The namespaces in which the grant has a Kubernetes role. */
    readonly namespaces: readonly string[];
  }[];
}

export interface ServiceStatus {
  readonly grant: string;
  readonly host: string;
  readonly port: number;
  readonly names: readonly string[];
  readonly protocol: 'http' | 'http2' | 'tcp';
  readonly allow?: readonly string[];
  /** The loopback address of the service. Only present if the service is reachable by name. */
  readonly address?: string;
}
