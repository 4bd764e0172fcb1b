/**
 * What agent, broker and edge say to each other, as schemas. docs/protocol.md is the prose of this file.
 * JSON on the wire is snake_case, as OAuth 2.0 is.
 */
import { z } from 'zod';
import { DrainingTunnels, MAX_DRAINING } from './channel/edge-wire.ts';
import { PublicKey } from './channel/jws.ts';
import { MAX_STATEMENT } from './channel/statement.ts';
import { KubernetesAccess } from './kubernetes/wire.ts';
import { isServiceAddress } from './service-address.ts';
import { isDnsLabel, isTrustDomain, parseSpiffe } from './spiffe.ts';
import { CERTIFICATES, isPlainText } from './text.ts';
import { isTokenHeader } from './token-header.ts';

export * from './channel/edge-decision.ts';

const dnsName = z.string().min(1).max(253);
const port = z.number().int().min(1).max(65535);
/** At most the year 9999: more is no instant, and overflows what is computed with it. */
const unixSeconds = z.number().int().nonnegative().max(253_402_300_799);

// Bounds of what the broker tells an agent. The agent does not trust the broker with its own machine: a text may reach a
// terminal, a name the hosts file, a number a timer.
/** Longest life of anything that is renewed, seconds. */
const lifetime = z.number().int().nonnegative().max(86_400);
const text = (longest: number) => z.string().max(longest).refine(isPlainText, 'has control characters');
const word = (longest: number) =>
  z
    .string()
    .min(1)
    .max(longest)
    .regex(/^[A-Za-z0-9_.:-]+$/);
const grant = z.string().refine(isDnsLabel, 'is not the name of a grant');
/** Grants of one session: the broker opens none that has more. */
export const MAX_GRANTS = 32;
const grants = z.array(grant).max(MAX_GRANTS);
const spiffeId = z
  .string()
  .max(600)
  .refine((uri) => parseSpiffe(uri) !== undefined, 'is not a SPIFFE id of Istio');
/** RFC 6750 section 2.1, `b68token`: what may stand in a header. */
const bearer = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9._~+/-]+=*$/);
const pem = z.string().max(131_072).regex(CERTIFICATES);
const roots = z.array(pem).max(64);
/** Name or address of a host, for a connection and for messages; not one of the mesh. */
const outsideHost = z
  .string()
  .max(253)
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.:-]*[A-Za-z0-9])?$/);

/** Operations of one service that are told, and ServiceAccounts behind it: an access file that needs more is refused. */
export const MAX_ALLOWED = 500;
/** Characters. */
export const MAX_ALLOWED_TEXT = 4_096;
export const MAX_PEERS = 100;

/** A service that a session may reach, under one of its grants. */
export const ReachableService = z.object({
  grant,
  /** Full name: `orders.shop.svc.cluster.local`. */
  host: dnsName,
  /** Service port. */
  port,
  /** Loopback address of the host in workspaces, in 127.64.0.0/10: the same for all its ports, and for nothing else. */
  address: z.string().refine(isServiceAddress, 'is not a loopback address of a service').optional(),
  /** Shorter names that mean the same: `orders.shop.svc`, `orders.shop`. */
  aliases: z.array(dnsName).max(8),
  protocol: z.enum(['http', 'http2', 'tcp']),
  /**
   * Granted operations (`GET /orders/*`, `POST /refunds (with department finance)`, `but not GET /orders/internal/*`); absent
   * where the whole port is granted. For people: the sidecar decides.
   */
  allow: z.array(text(MAX_ALLOWED_TEXT)).max(MAX_ALLOWED).optional(),
  /** SPIFFE ids that the workload may present; the agent accepts no other. Empty: no workload runs now. */
  spiffe_ids: z.array(spiffeId).max(MAX_PEERS),
});
export type ReachableService = z.infer<typeof ReachableService>;

/** One answer is at most 1 MiB, which is fewer. */
const services = z.array(ReachableService).max(4_096);

/** A grant that a session holds now. */
export const HeldGrantInfo = z.object({
  grant,
  /** Who the session is under it. A grant that was lost and gained again has another one. */
  spiffe_id: spiffeId,
  /** Its end in this session, Unix seconds. */
  until: unixSeconds,
  /** Why the session gained it while it was live; absent: it opened with it. */
  gained: word(64).optional(),
});
export type HeldGrantInfo = z.infer<typeof HeldGrantInfo>;
const held = z.array(HeldGrantInfo).max(MAX_GRANTS);

export const SessionInfo = z.object({
  id: word(128),
  subject: text(1_024),
  login: text(256),
  workspace: text(1_024),
  /** Hard end of the session, Unix seconds. */
  expires_at: unixSeconds,
  /** The lease lapses this long after the last heartbeat. */
  lease_seconds: lifetime.positive(),
  heartbeat_seconds: lifetime.positive(),
  grants,
  /** Absent: a broker that does not say. */
  held: held.optional(),
});
export type SessionInfo = z.infer<typeof SessionInfo>;

export const MeshInfo = z.object({
  trust_domain: z.string().refine(isTrustDomain, 'is not a trust domain'),
  /** PEM of every root of the mesh that is trusted now. */
  roots,
  edge: z.object({ host: outsideHost, port }),
  /** Request header that carries the identity token. */
  token_header: z.string().refine(isTokenHeader, 'cannot carry the identity token'),
  /** Keys that the broker's statements on the control channel verify by (channel/statement.ts); absent: it serves none. */
  statement_keys: z
    .array(PublicKey.extend({ kid: word(64) }))
    .max(8)
    .optional(),
});
export type MeshInfo = z.infer<typeof MeshInfo>;

/** Answer of `POST /token` to a session token: a JWT for one audience. */
export const TokenResponse = z.object({
  /** In the alphabet of a compact JWS (RFC 7515 section 3.1): it becomes part of request heads. */
  access_token: z
    .string()
    .max(16_384)
    .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}$/),
  issued_token_type: word(128),
  token_type: z.literal('N_A'),
  expires_in: lifetime,
});
export type TokenResponse = z.infer<typeof TokenResponse>;

/** CSRs that may come with a proof: what a session begins with is then in the answer. Further grants are asked for afterwards. */
export const MAX_FIRST_CSRS = 8;

const certificates = z
  .array(
    z.object({
      grant,
      spiffe_id: spiffeId,
      /** PEM, leaf first, roots left out. */
      chain: pem,
      not_before: unixSeconds,
      not_after: unixSeconds,
    }),
  )
  .max(MAX_GRANTS);

/** One resource of Envoy, a google.protobuf.Any in base64: 1 MiB at most. */
const resource = z
  .string()
  .max(1_400_000)
  .regex(/^[A-Za-z0-9+/]*={0,2}$/);
const resources = z.array(resource).max(4_096);

/** Answer of `GET /session/configuration`: what the workspace's Envoy is to run, and what of Istio's configuration is not in it. */
export const ConfigurationResponse = z.object({
  /** More than that of every configuration that the session was given before. */
  version: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  listeners: resources,
  clusters: resources,
  routes: resources,
  left_out: z
    .array(z.object({ what: text(256), where: text(64), count: z.number().int().positive().max(1_000_000_000) }))
    .max(4_096),
});
export type ConfigurationResponse = z.infer<typeof ConfigurationResponse>;

/**
 * Answer of `POST /token` to a proof: a new session (RFC 8693 section 2.2.1 with members of ours). Where CSRs came with the proof, also
 * what the session begins with, as far as it is there at once; what is absent is asked for as at any other time.
 */
export const SessionResponse = z.object({
  access_token: bearer,
  issued_token_type: word(128),
  token_type: z.literal('DPoP'),
  expires_in: lifetime,
  session: SessionInfo,
  mesh: MeshInfo,
  services,
  /** Absent: no grant of the session has roles of Kubernetes. */
  kubernetes: KubernetesAccess.optional(),
  /** Of the session's first grants, in the order of the CSRs. */
  certificates: certificates.optional(),
  identity_token: TokenResponse.optional(),
  configuration: ConfigurationResponse.optional(),
});
export type SessionResponse = z.infer<typeof SessionResponse>;

/**
 * `POST /certificates`: one CSR (PEM, PKCS#10) per grant. Names in a CSR are ignored: the grant decides the SPIFFE id. One
 * CSR may have 8 KiB; that is for the check of CSRs to say (`csr_too_large`), so only the body bounds it here.
 */
export const CertificateRequest = z.object({
  certificates: z
    .array(z.object({ grant: z.string().min(1).max(63), csr: z.string().min(1).max(65_536) }))
    .min(1)
    .max(MAX_GRANTS),
});
export type CertificateRequest = z.infer<typeof CertificateRequest>;

export const CertificateResponse = z.object({ certificates, roots });
export type CertificateResponse = z.infer<typeof CertificateResponse>;

/**
 * Answer of `POST /session/heartbeat`. `services_version` changes when `GET /services` would answer anew; it is absent while a
 * broker that has just started does not know yet what any session may reach.
 */
export const HeartbeatResponse = z.object({
  lease_expires_at: unixSeconds,
  expires_at: unixSeconds,
  services_version: text(256).optional(),
  /** Ids of the keys that tokens verify by; a token of any other is worthless, and a new one is to be asked for. */
  token_keys: z.array(text(256)).max(64).optional(),
  /** Of `GET /session/configuration`; absent while the broker has none yet. */
  configuration_version: z.number().int().positive().max(Number.MAX_SAFE_INTEGER).optional(),
});
export type HeartbeatResponse = z.infer<typeof HeartbeatResponse>;

export const ServicesResponse = z.object({
  services_version: text(256),
  /** As they are now, also those that reach nothing at this moment; absent: a broker that does not say. */
  held: held.optional(),
  mesh: MeshInfo,
  services,
  kubernetes: KubernetesAccess.optional(),
});
export type ServicesResponse = z.infer<typeof ServicesResponse>;

/**
 * What a broker wants a Codespace to answer before it opens a session (`presence_required`, docs/protocol.md): a request for
 * `path` will come through GitHub's port forwarding, and is to be answered with createPresenceProof().
 */
export const PresenceChallenge = z.object({
  nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Chosen by the broker, so that nothing else that the workspace serves is there. */
  path: z.string().regex(/^\/[A-Za-z0-9_-]{43}$/),
  /** Seconds. */
  expires_in: z.number().int().min(1).max(300),
});
export type PresenceChallenge = z.infer<typeof PresenceChallenge>;

/** Body of every refusal. `error` is the OAuth 2.0 code, `error_code` ours (docs/troubleshooting.md). */
export const ErrorResponse = z.object({
  error: z.string(),
  error_description: z.string(),
  error_code: z.string(),
  /** Id of the audited decision, to give to an operator. */
  decision_id: z.string().optional(),
  /** With `presence_required`. */
  presence: PresenceChallenge.optional(),
});
export type ErrorResponse = z.infer<typeof ErrorResponse>;

const target = z.object({ host: dnsName, port });
/** A live session as the edge needs to know it. */
export const AdmittedSession = z.object({
  id: z.string(),
  subject: z.string(),
  expires_at: unixSeconds,
  /** Who may go where: one principal (SPIFFE id) per grant. `until`: when it ends at the latest; older brokers do not tell. */
  principals: z.array(z.object({ spiffe_id: z.string(), targets: z.array(target), until: unixSeconds.optional() })),
  /** Whose configuration it has (channel/statement.ts, `grantSet`). */
  set: z.string().optional(),
});
export type AdmittedSession = z.infer<typeof AdmittedSession>;

/** A line of `GET /edge/stream` (NDJSON). The first is a snapshot; a beat comes every few seconds. */
export const EdgeEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('snapshot'), sessions: z.array(AdmittedSession), roots: z.array(z.string()) }),
  /** A new session, or a session whose targets changed. */
  z.object({ type: z.literal('admit'), session: AdmittedSession }),
  z.object({ type: z.literal('close'), id: z.string(), reason: z.string() }),
  z.object({ type: z.literal('roots'), roots: z.array(z.string()) }),
  z.object({ type: z.literal('beat'), at: unixSeconds }),
  /** Of a session that was closed: a statement for its agent. Only to edges that ask for it (CONTROL_HEADER), as the next. */
  z.object({ type: z.literal('notice'), id: z.string(), statement: z.string().max(MAX_STATEMENT) }),
  /** A configuration that is new, or was there before the snapshot: a statement for the agents of this set. */
  z.object({
    type: z.literal('configuration'),
    set: z.string(),
    digest: z.string().max(64),
    statement: z.string().max(MAX_STATEMENT),
  }),
  /** An edge is about to end, and has tunnels of these sessions. Only to edges that know it (CONTROL_HEADER). */
  z.object({ type: z.literal('draining'), sessions: z.array(DrainingTunnels).max(MAX_DRAINING) }),
]);
export type EdgeEvent = z.infer<typeof EdgeEvent>;
