/** What the agent tells about itself. Nothing in it is secret. */
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
    /** Milliseconds since the epoch, as all times here. */
    readonly expiresAt: number;
  };
  readonly credentials: {
    readonly svids: readonly {
      readonly grant: string;
      readonly spiffeId: string;
      readonly expiresAt: number;
      /** When the session loses the grant; absent where the broker does not say. */
      readonly heldUntil?: number;
      /** Why the session gained it while it was live: `window_opened`, `access_widened`, `approved`, `emergency`, `signed_in`. */
      readonly gained?: string;
    }[];
    readonly identityTokenExpiresAt: number;
  };
  /** At identity providers, beside the proof. */
  readonly signIns: readonly SignInStatus[];
  readonly services: readonly ServiceStatus[];
  /** Absent: no grant has roles of Kubernetes. */
  readonly kubernetes?: KubernetesStatus;
  readonly broker: {
    readonly url: string;
    readonly answeredAt: number;
    /** The last failure of each task that has not succeeded since. */
    readonly failures: Readonly<Record<string, string>>;
  };
  /** Public address of the edge. */
  readonly edge?: { readonly host: string; readonly port: number };
  readonly lease: {
    /** How it is renewed: by the control channel of an edge, or at the broker, where no edge does. */
    readonly by: 'channel' | 'https';
    readonly since: number;
    /** What an edge said last of a lease that it did not renew: nobody's word, and a hint. */
    readonly refused?: { readonly code: string; readonly at: number };
  };
  /** Milliseconds from the start of the process until it was ready. */
  readonly readyAfter: number;
}

/** What Envoy does, and what it was given. */
export interface DataPlaneStatus {
  readonly envoy: {
    readonly version: string;
    /** Absent while it is being started. */
    readonly pid?: number;
    readonly restarts: number;
    /** How the one before ended. */
    readonly lastEnd?: string;
    /** Those for programs; empty where Envoy does not answer. */
    readonly listeners: readonly ListenerState[];
    readonly clusters: readonly ClusterState[];
  };
  readonly configuration: {
    /** Of what the broker sent last and this workspace accepted. */
    readonly version?: number;
    /** Why what the broker sent last is not used, in place of which the one before is. */
    readonly refused: readonly string[];
    /** What Envoy itself did not take, by kind of resource. */
    readonly rejected: readonly string[];
    /** What istiod sent and no workspace accepts: filters of other teams, for example. */
    readonly leftOut: readonly LeftOut[];
  };
  /** What edges said of tunnels of this workspace that they are about to end: nobody's word. Absent: nothing. */
  readonly draining?: {
    /** When one said so last. */
    readonly at: number;
    /** How often tunnels were replaced because of it. */
    readonly replaced: number;
  };
  /** The last requests and connections that were refused, the newest first. */
  readonly refusals: readonly Refusal[];
  readonly proxy: { readonly host: '127.0.0.1'; readonly port: number };
  /** What does not work here, and what to do instead. */
  readonly notes: readonly string[];
}

/** For kubectl. */
export interface KubernetesStatus {
  /** Path of the kubeconfig. */
  readonly kubeconfig: string;
  readonly contexts: readonly {
    readonly name: string;
    readonly grant: string;
    readonly server: string;
    /** Where the grant has a role. */
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
  /** Own loopback address, where the service is reached by name. */
  readonly address?: string;
}
