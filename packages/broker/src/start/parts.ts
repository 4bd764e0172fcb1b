/** What a broker is given, what it gives, and what all of its parts have in common. */
import { randomBytes } from 'node:crypto';
import type { Authorize } from '@meshpass/access';
import type { EdgeDecision, MeshpassError } from '@meshpass/identity';
import type { Logger } from 'pino';
import type { Attest, AttestSignIn } from '../attest/attest.ts';
import type { Losses } from '../attest/github/losses.ts';
import type { VerifyLogout } from '../attest/oidc/logout-token.ts';
import type { CheckpointSink } from '../audit/checkpoint/sink.ts';
import type { Outcome } from '../audit/log/decision.ts';
import type { ConfigurationSource } from '../channel/configurations.ts';
import type { ControlChannel } from '../channel/control.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { BrokerConfig } from '../config.ts';
import type { RateLimiter } from '../github/rate-limiter.ts';
import type { ReadGithub } from '../github/reader.ts';
import type { CertificateAuthority } from '../istiod/authority.ts';
import type { KubernetesTokens } from '../kubernetes/session-tokens.ts';
import type { OperatorProofs } from '../operator/sign-in.ts';
import type { AuthorOf } from '../policy/author.ts';
import type { MeshState, PolicyMesh, Revoker } from '../reconcile/contract.ts';
import type { PolicyDecisions } from '../reconcile/policy-decisions.ts';
import type { Feed } from '../session/feed.ts';
import type { LiveIndex } from '../session/live.ts';
import type { HeldGrant } from '../session/session.ts';
import type { GainRequest } from '../session/widen.ts';
import type { ActiveState } from '../store/active-state.ts';
import { createLog } from '../telemetry/log.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
import type { RotatingSigner } from '../token/signer.ts';
import type { RelaySource } from '../xds/relay-source.ts';

/** What the caller makes, because it depends on the installation or on the mesh. */
export interface BrokerParts {
  readonly attest: Attest;
  /** createAttestSignIn(); absent: nobody can sign in. */
  readonly attestSignIn?: AttestSignIn;
  /** Verifies logout tokens of issuers; absent: none is taken. */
  readonly verifyLogout?: VerifyLogout;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** How sessions get tokens for the API server of Kubernetes; absent: they do not. */
  readonly kubernetesTokens?: KubernetesTokens | undefined;
  /** What an operator has to mend, though the broker serves. */
  readonly warnings?: () => readonly string[];
  /** Subscribes to the outcome of each access file, which goes into the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** openSigner(): made by the caller, because the mesh must know its JWKS before the broker serves. */
  readonly signer: RotatingSigner;
  /** TokenReview of an edge's bearer token; absent where the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** How to ask GitHub about the Codespaces and teams of live sessions, and how often; absent: leases alone decide. */
  readonly github?: { readonly read: ReadGithub; readonly rateLimiter: RateLimiter };
  /** The same that `attest` uses; of the broker's own where absent. */
  readonly losses?: Losses;
  /** How operators prove who they are; absent: nobody can sign in. */
  readonly operators?: OperatorProofs;
  /** Where access files are applied by plan. */
  readonly policy?: { readonly mesh: PolicyMesh; readonly authorOf: AuthorOf | undefined };
  /** Where the newest checkpoint of the audit log is stored, beside the file. */
  readonly checkpointSinks?: readonly CheckpointSink[];
  /** Where Envoy's configuration of sessions comes from; absent: they get none. */
  readonly relay?: RelaySource;
  /** Configurations that agents are given through edges; those of the relay where absent. */
  readonly configurations?: ConfigurationSource;
  /** The index of live sessions; createLiveIndex() where absent. */
  readonly live?: LiveIndex;
  /** Sends messages to webhooks; Node's own where absent. */
  readonly fetch?: typeof fetch;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Is told when this broker becomes the active one. */
  readonly activeState?: Pick<ActiveState, 'activate'>;
  /** Ends the waiting of a standby. */
  readonly signal?: AbortSignal;
}

export interface Broker {
  /** As bound: useful where the configuration says port 0. */
  readonly port: number;
  readonly operatorPort: number;
  /** For an edge in this process. */
  readonly feed: Feed;
  /** @throws MeshpassError `store_unavailable`, `overloaded` */
  readonly reportEdgeDecisions: (decisions: readonly EdgeDecision[]) => Promise<void>;
  /** What an edge in this process brings of control connections. */
  readonly control: Pick<ControlChannel, 'renew' | 'configuration'>;
  /** Gives a live session a grant, see session/widen.ts. @returns refused with `session_unknown` and what gain() refuses with */
  readonly gain: (sessionId: string, grant: string, request: GainRequest) => Promise<Outcome<HeldGrant>>;
  /** Resolves when the mesh knows of every revocation so far. */
  readonly revocationsSettled: () => Promise<void>;
  /**
   * Resolves, with the reason, when another broker has taken over. By then this one accepts no requests, and has closed what it
   * can: its process must end.
   */
  readonly lost: Promise<MeshpassError>;
  /** Stops accepting, finishes requests in flight within 10 s, makes everything durable. Sessions live on. */
  readonly close: () => Promise<void>;
}

/** What every part of the broker is given. */
export interface Base {
  readonly config: BrokerConfig;
  readonly given: BrokerParts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Counts and logs a failure that is retried or survived. */
  readonly failed: (where: string) => (cause: unknown) => void;
}

export function createBase(config: BrokerConfig, given: BrokerParts): Base {
  const { clock = Date.now, random = randomBytes, log = createLog('broker') } = given;
  const metrics = createMetrics();
  const failed = (where: string) => (cause: unknown) => {
    metrics.failure(where);
    log.error({ err: cause, where }, 'a dependency of the broker failed');
  };
  return { config, given, clock, random, log, metrics, failed };
}
