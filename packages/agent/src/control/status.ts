/** Status of the agent. Contains no secrets. */
import type { Refusal } from '../access-log/refusals.ts';
import type { ClusterState, ListenerState } from '../envoy/admin.ts';
import type { LeftOut } from '../session/broker-answers.ts';
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
    /** Unix ms, like all other times in this file. */
    readonly expiresAt: number;
  };
  readonly credentials: {
    readonly svids: readonly {
      readonly grant: string;
      readonly spiffeId: string;
      readonly expiresAt: number;
      /** Time at which the session loses the grant. Absent if the broker does not report it. */
      readonly heldUntil?: number;
      /**
       * Reason why the live session gained the grant: `window_opened`, `access_widened`, `approved`, `emergency`,
       * `signed_in`.
       */
      readonly gained?: string;
    }[];
    readonly identityTokenExpiresAt: number;
  };
  /** Sign-ins at identity providers, in addition to the proof. */
  readonly signIns: readonly SignInStatus[];
  readonly services: readonly ServiceStatus[];
  /** Absent if no grant has Kubernetes roles. */
  readonly kubernetes?: KubernetesStatus;
  readonly broker: {
    readonly url: string;
    readonly answeredAt: number;
    /** Last failure of each task that has not succeeded since. */
    readonly failures: Readonly<Record<string, string>>;
  };
  /** Public address of the edge. */
  readonly edge?: { readonly host: string; readonly port: number };
  /** Contact for access requests. Absent if the access file does not list one. */
  readonly contact?: string;
  readonly lease: {
    /**
     * Transport that renews the lease: an edge's control channel, or HTTPS to the broker if no edge provides a channel.
     */
    readonly by: 'channel' | 'https';
    readonly since: number;
    /** Last reason that the edge gave for not renewing a lease. It is unsigned, so it is only a hint. */
    readonly refused?: { readonly code: string; readonly at: number };
  };
  /** Milliseconds from the start of the process until it was ready. */
  readonly readyAfter: number;
}

/** State of Envoy and of its configuration. */
export interface DataPlaneStatus {
  readonly envoy: {
    readonly version: string;
    /** Absent while Envoy is starting. */
    readonly pid?: number;
    readonly restarts: number;
    /** Description of how the previous process ended. */
    readonly lastEnd?: string;
    /** Listeners for programs. Empty if Envoy does not respond. */
    readonly listeners: readonly ListenerState[];
    readonly clusters: readonly ClusterState[];
  };
  readonly configuration: {
    /** Last version that the broker sent and the agent accepted. */
    readonly version?: number;
    /** Reasons why the agent rejected the latest configuration and kept the previous one. */
    readonly refused: readonly string[];
    /** Resources that Envoy itself rejected, by kind. */
    readonly rejected: readonly string[];
    /** Parts of istiod's configuration that workspaces never accept, such as other teams' filters. */
    readonly leftOut: readonly LeftOut[];
  };
  /**
   * Notices from edges that are about to end this workspace's tunnels. They are unsigned. Absent if there were none.
   */
  readonly draining?: {
    /** Time of the last notice. */
    readonly at: number;
    /** Number of tunnel replacements that a notice has caused. */
    readonly replaced: number;
  };
  /** Latest refused requests and connections, starting with the newest. */
  readonly refusals: readonly Refusal[];
  readonly proxy: { readonly host: '127.0.0.1'; readonly port: number };
  /** Limitations of this workspace, each with an alternative. */
  readonly notes: readonly string[];
}

/** Configuration of kubectl. */
export interface KubernetesStatus {
  /** Path of the kubeconfig file. */
  readonly kubeconfig: string;
  readonly contexts: readonly {
    readonly name: string;
    readonly grant: string;
    readonly server: string;
    /** Namespaces in which the grant has a role. */
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
  /** Loopback address. Present if the service is reachable by name. */
  readonly address?: string;
}
