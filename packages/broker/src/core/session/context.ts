/**
 * Defines the context of a broker's sessions. All code that opens, widens, narrows and ends sessions, issues their
 * credentials and serves their requests shares it. It is created in start.ts.
 */
import type { Access, Authorize } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { MeshInfo } from '@meshpass/identity/wire';
import type { Attestor, Losses, ReadGithub, SignInVerifier } from '../../attest/index.ts';
import type { AuditContext, Journal } from '../../audit/index.ts';
import type { KeyedMutex, Process } from '../../base/index.ts';
import type { Connections, RouteContext } from '../../http/index.ts';
import type { LogoutVerifier } from '../../issuers/index.ts';
import type { CertificateAuthority, KubernetesTokens, MeshState, RelaySource, Revoker } from '../../mesh/index.ts';
import type { Store } from '../../store/index.ts';
import type { ConfigurationSource } from '../channel/configurations.ts';
import type { ControlChannel } from '../channel/control.ts';
import type { RecentLogouts } from '../sign-in/recent-logouts.ts';
import type { RotatingSigner } from '../token/signer.ts';
import type { RateLimiter } from '../watch/rate-limiter.ts';
import type { DENY_ENDED_MODES, DenialPredicate } from './deny/ended.ts';
import type { Feed } from './feed.ts';
import type { Live, LiveIndex } from './live.ts';
import type { Revocations } from './revocations.ts';
import type { WriteQueue } from './write-queue.ts';

/** The dependencies that an installation provides for its sessions. */
export interface SessionParts {
  readonly attest: Attestor;
  /** The result of createSignInVerifier(). Absent if users cannot sign in. */
  readonly attestSignIn?: SignInVerifier;
  /** Verifies logout tokens from issuers. Absent if logout tokens are not accepted. */
  readonly verifyLogout?: LogoutVerifier;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** Issues tokens for the Kubernetes API server. Absent if sessions do not have access to it. */
  readonly kubernetesTokens?: KubernetesTokens | undefined;
  /**
   * The result of openSigner(). The caller creates the signer, because the mesh must have its JWKS before the broker
   * starts serving.
   */
  readonly signer: RotatingSigner;
  /** Verifies an edge's bearer token through a TokenReview. Absent if the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** Provides access to GitHub for checking live sessions. Absent if sessions depend only on their leases. */
  readonly github?: { readonly read: ReadGithub; readonly rateLimiter: RateLimiter };
  /** The record of lost workspaces and memberships, which is shared with `attest`. Created by default. */
  readonly losses?: Losses;
  /** The source of Envoy configurations for sessions. Absent if sessions do not receive any. */
  readonly relay?: RelaySource;
  /** The source of configurations. Defaults to the relay. */
  readonly configurations?: ConfigurationSource;
  /** Aborts the wait for the mesh. */
  readonly signal?: AbortSignal;
  /** The index of live sessions. Defaults to createLiveIndex(). The lab replaces it to show that a drill can fail. */
  readonly live?: LiveIndex;
}

/** The settings for sessions (see config.ts). */
export interface SessionConfig {
  /** The broker's origin, which is also the `iss` claim of all tokens. */
  readonly publicUrl: string;
  /** The `aud` claim of identity tokens. */
  readonly tokenAudience: string;
  readonly tokenHeader: string;
  /** The lifetime of identity tokens, in seconds. */
  readonly tokenSeconds: number;
  readonly trustDomain: string;
  readonly edge: MeshInfo['edge'];
  readonly leaseSeconds: number;
  readonly restartGraceSeconds: number;
  readonly heartbeatSeconds: number;
  readonly denyEnded: (typeof DENY_ENDED_MODES)[number];
  readonly signingKeyAgeSeconds: number;
  readonly signingKeyWaitSeconds: number;
  readonly githubSweepSeconds: number;
  readonly githubMemberSeconds: number;
  /** The maximum number of concurrent exchanges for new sessions, in total and per source address. */
  readonly maxExchanges: number;
  readonly maxExchangesPerSource: number;
}

/** The process that the sessions run in. */
export type SessionProcess = Process<SessionConfig, SessionParts>;

/** Additional dependencies that are available once sessions are started. */
export interface SessionOptions {
  /** Records decisions in the audit log. */
  readonly audit: AuditContext;
  /** When this process started, in Unix seconds. DPoP proofs that are older are rejected. */
  readonly startedAt: number;
  /** The connections of the public listener. */
  readonly connections: Connections;
  readonly sourceOf: RouteContext['sourceOf'];
  /** The token for GitHub's audit log stream, or undefined if the broker does not accept the stream. */
  readonly githubEventToken: string | undefined;
}

/**
 * Either an attestation that GitHub has just confirmed, or the id of a Codespace that it has just failed to confirm.
 */
export type Evidence = { readonly attestation: Attestation } | { readonly codespaceId: number };

/** The context that all code about sessions shares. */
export interface SessionContext
  extends SessionParts,
    SessionOptions,
    Pick<SessionProcess, 'config' | 'clock' | 'random' | 'metrics'> {
  readonly store: Store;
  readonly journal: Journal;
  readonly live: LiveIndex;
  readonly losses: Losses;
  readonly writes: WriteQueue;
  readonly feed: Feed;
  /** Signs the broker's statements to agents, and the headers of their configurations. */
  readonly control: ControlChannel;
  readonly revocations: Revocations;
  readonly denies: DenialPredicate;
  /** Recent logouts at issuers, which also end operator sessions. */
  readonly recentLogouts: RecentLogouts;
  /** Serializes changes to the sign-ins of a session. */
  readonly signInTurns: KeyedMutex;
  /** Called for each session that is opened, with the access file that authorized it. */
  readonly onOpened: (live: Live, decidedBy: Access) => void;
  /**
   * Called for every attestation, whether it was granted or refused, because either may reveal that a live session has
   * lost something.
   */
  readonly onEvidence: (evidence: Evidence) => void;
  readonly onFailure: (cause: unknown) => void;
}
