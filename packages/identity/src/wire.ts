/**
 * Schemas of the messages between agent, broker and edge, which docs/interfaces/protocol.md describes. JSON on the wire
 * uses snake_case, like OAuth 2.0.
 */
import { z } from 'zod';
import { DrainingTunnels, MAX_DRAINING_SESSIONS } from './channel/edge-wire.ts';
import { MAX_STATEMENT_LENGTH } from './channel/statement.ts';
import { PublicKey } from './jws/es256.ts';
import { KubernetesAccess } from './kubernetes/wire.ts';
import { compactJws, grant, MAX_GRANTS, port, text, unixSeconds } from './schema/fields.ts';
import { isServiceAddress } from './service-address.ts';
import { isTrustDomain, parseSpiffe } from './spiffe.ts';
import { PEM_CERTIFICATES } from './text.ts';
import { isTokenHeader } from './token-header.ts';

export * from './channel/edge-decision.ts';
export { MAX_GRANTS };

const dnsName = z.string().min(1).max(253);

// The agent does not trust the broker with its machine, so every value from the broker has bounds. Text may be printed
// to a terminal, a name may be written to the hosts file, and a number may set a timer.
/** Maximum lifetime of any renewable credential, seconds. */
const lifetime = z.number().int().nonnegative().max(86_400);
const word = (longest: number) =>
  z
    .string()
    .min(1)
    .max(longest)
    .regex(/^[A-Za-z0-9_.:-]+$/);
const grants = z.array(grant).max(MAX_GRANTS);
const spiffeId = z
  .string()
  .max(600)
  .refine((uri) => parseSpiffe(uri) !== undefined, 'is not a valid Istio SPIFFE id');
/** Bearer token (RFC 6750 section 2.1, `b68token`): only characters that are allowed in a header. */
const bearer = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9._~+/-]+=*$/);
const pem = z.string().max(131_072).regex(PEM_CERTIFICATES);
const roots = z.array(pem).max(64);
/** Host name or address outside the mesh. It is used for connections and appears in messages. */
const outsideHost = z
  .string()
  .max(253)
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.:-]*[A-Za-z0-9])?$/);

/** Maximum number of operations listed per service. The broker rejects an access file that needs more. */
export const MAX_ALLOWED_OPERATIONS = 500;
/** Maximum length of an operation, characters. */
export const MAX_OPERATION_LENGTH = 4_096;
/** Maximum number of ServiceAccounts per service. The broker rejects an access file that needs more. */
export const MAX_SERVICE_ACCOUNTS_PER_SERVICE = 100;

/** Service that a session may reach under one of its grants. */
export const ReachableService = z.object({
  grant,
  /** Full name: `orders.shop.svc.cluster.local`. */
  host: dnsName,
  /** Service port. */
  port,
  /**
   * Loopback address that workspaces use for the host, in 127.64.0.0/10. All ports of the host share it, and other
   * hosts never use it.
   */
  address: z.string().refine(isServiceAddress, 'is not a valid loopback address for a service').optional(),
  /** Shorter equivalent names: `orders.shop.svc`, `orders.shop`. */
  aliases: z.array(dnsName).max(8),
  protocol: z.enum(['http', 'http2', 'tcp']),
  /**
   * Granted operations (`GET /orders/*`, `POST /refunds (with department finance)`, `but not GET /orders/internal/*`).
   * Absent if the whole port is granted. For display only: the sidecar enforces access.
   */
  allow: z.array(text(MAX_OPERATION_LENGTH)).max(MAX_ALLOWED_OPERATIONS).optional(),
  /** SPIFFE ids that the workload may present. The agent rejects all others. Empty if no workload is running. */
  spiffe_ids: z.array(spiffeId).max(MAX_SERVICE_ACCOUNTS_PER_SERVICE),
});
export type ReachableService = z.infer<typeof ReachableService>;

/** The bound is nominal: a response reaches its 1 MiB limit first. */
const services = z.array(ReachableService).max(4_096);

/** Grant that a session currently has. */
export const SessionGrantInfo = z.object({
  grant,
  /** The session's SPIFFE id under this grant. A grant that is lost and regained gets a new id. */
  spiffe_id: spiffeId,
  /** When the grant ends in this session, Unix seconds. */
  until: unixSeconds,
  /** Reason that the live session gained the grant. Absent if the session was opened with it. */
  gained: word(64).optional(),
});
export type SessionGrantInfo = z.infer<typeof SessionGrantInfo>;
const held = z.array(SessionGrantInfo).max(MAX_GRANTS);

export const SessionInfo = z.object({
  id: word(128),
  subject: text(1_024),
  login: text(256),
  workspace: text(1_024),
  /** Latest possible end of the session, Unix seconds. */
  expires_at: unixSeconds,
  heartbeat_seconds: lifetime.positive(),
  grants,
  held,
});
export type SessionInfo = z.infer<typeof SessionInfo>;

export const MeshInfo = z.object({
  trust_domain: z.string().refine(isTrustDomain, 'is not a valid trust domain'),
  /** All trusted roots of the mesh, PEM. */
  roots,
  edge: z.object({ host: outsideHost, port }),
  /** Request header that carries the identity token. */
  token_header: z.string().refine(isTokenHeader, 'cannot carry the identity token'),
  /** Keys for verifying the broker's statements (channel/statement.ts). */
  statement_keys: z
    .array(PublicKey.extend({ kid: word(64) }))
    .min(1)
    .max(8),
  /** Contact from the access file. */
  contact: text(200).optional(),
});
export type MeshInfo = z.infer<typeof MeshInfo>;

/** Response of `POST /token` to a request with a session token: a JWT for one audience. */
export const TokenResponse = z.object({
  access_token: compactJws,
  issued_token_type: word(128),
  token_type: z.literal('N_A'),
  expires_in: lifetime,
});
export type TokenResponse = z.infer<typeof TokenResponse>;

/**
 * Maximum number of CSRs sent with a proof to obtain the session's initial credentials. Certificates for further grants
 * need a separate request.
 */
export const MAX_INITIAL_CSRS = 8;

/** Maximum size in bytes of the configuration in a new session's response. Larger ones need a separate request. */
export const MAX_INITIAL_CONFIGURATION_BYTES = 131_072;

const certificates = z
  .array(
    z.object({
      grant,
      spiffe_id: spiffeId,
      /** PEM, leaf first, without roots. */
      chain: pem,
      not_before: unixSeconds,
      not_after: unixSeconds,
    }),
  )
  .max(MAX_GRANTS);

/** Envoy resource: a google.protobuf.Any of at most 1 MiB, in base64. */
const resource = z
  .string()
  .max(1_400_000)
  .regex(/^[A-Za-z0-9+/]*={0,2}$/);
const resources = z.array(resource).max(4_096);

/**
 * Response of `GET /session/configuration`: the configuration for the workspace's Envoy, and a list of the parts of
 * Istio's configuration that it omits. The header (`ConfigurationStatement`) contains the version.
 */
export const ConfigurationResponse = z.object({
  listeners: resources,
  clusters: resources,
  routes: resources,
  left_out: z
    .array(z.object({ what: text(256), where: text(64), count: z.number().int().positive().max(1_000_000_000) }))
    .max(4_096),
});
export type ConfigurationResponse = z.infer<typeof ConfigurationResponse>;

/**
 * Response of `POST /token` to a proof: a new session (RFC 8693 section 2.2.1 with additional fields). If the request
 * contained CSRs, the response also contains the initial credentials that are immediately available. The client
 * requests the remaining credentials as usual.
 */
export const SessionResponse = z.object({
  access_token: bearer,
  issued_token_type: word(128),
  token_type: z.literal('DPoP'),
  expires_in: lifetime,
  session: SessionInfo,
  mesh: MeshInfo,
  services,
  /** Absent if none of the session's grants has Kubernetes roles. */
  kubernetes: KubernetesAccess.optional(),
  /** Certificates of the session's initial grants, in the order of the CSRs. */
  certificates: certificates.optional(),
  identity_token: TokenResponse.optional(),
  configuration: z
    .object({
      /** ConfigurationStatement for the content. */
      statement: z.string().max(MAX_STATEMENT_LENGTH),
      /** Response body of `GET /session/configuration`, as text. */
      content: z.string().max(MAX_INITIAL_CONFIGURATION_BYTES),
    })
    .optional(),
});
export type SessionResponse = z.infer<typeof SessionResponse>;

/**
 * Body of `POST /certificates`: one CSR (PEM, PKCS#10) per grant. The grant determines the SPIFFE id, and names in a
 * CSR are ignored. The CSR check (`csr_too_large`) limits a CSR to 8 KiB, so this schema only applies the body size
 * limit.
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

export const ServicesResponse = z.object({
  services_version: text(256),
  /** Current grants, including ones that do not currently reach any service. */
  held,
  mesh: MeshInfo,
  services,
  kubernetes: KubernetesAccess.optional(),
});
export type ServicesResponse = z.infer<typeof ServicesResponse>;

/**
 * Challenge that a Codespace must answer before the broker opens a session (`presence_required`,
 * docs/interfaces/protocol.md). The broker requests `path` through GitHub's port forwarding, and the agent responds
 * with the result of createPresenceProof().
 */
export const PresenceChallenge = z.object({
  nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Path chosen by the broker, so that it cannot match another resource of the workspace. */
  path: z.string().regex(/^\/[A-Za-z0-9_-]{43}$/),
  /** Seconds. */
  expires_in: z.number().int().min(1).max(300),
});
export type PresenceChallenge = z.infer<typeof PresenceChallenge>;

/** Body of every refusal. `error` is the OAuth 2.0 code, `error_code` is Meshpass's (docs/troubleshooting.md). */
export const ErrorResponse = z.object({
  error: z.string(),
  error_description: z.string(),
  error_code: z.string(),
  /** Id of the audited decision. Users quote it when they contact an operator. */
  decision_id: z.string().optional(),
  /** Sent only with `presence_required`. */
  presence: PresenceChallenge.optional(),
  /**
   * Contact from the access file. Sent only with `access_none` and `operator_no_role`, so only after the identity has
   * been proven.
   */
  contact: z.string().optional(),
  /** Grants that need approval and that the person may request in a session. Sent only with `access_none`. */
  requestable: z.array(z.string()).optional(),
});
export type ErrorResponse = z.infer<typeof ErrorResponse>;

const target = z.object({ host: dnsName, port });
/** Live session, as an edge sees it. */
export const AdmittedSession = z.object({
  id: z.string(),
  expires_at: unixSeconds,
  /** Principals (SPIFFE ids) and the targets that each may reach, one per grant. `until` is the latest expiry. */
  principals: z.array(z.object({ spiffe_id: z.string(), targets: z.array(target), until: unixSeconds.optional() })),
  /** Set of grants that determines the session's configuration (channel/statement.ts, `grantSet`). */
  set: z.string().optional(),
});
export type AdmittedSession = z.infer<typeof AdmittedSession>;

/** Line of `GET /edge/stream` (NDJSON). The first line is a snapshot. A heartbeat is sent every few seconds. */
export const EdgeEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('snapshot'), sessions: z.array(AdmittedSession), roots: z.array(z.string()) }),
  /** Adds a session or updates its targets. */
  z.object({ type: z.literal('admit'), session: AdmittedSession }),
  z.object({ type: z.literal('close'), id: z.string(), reason: z.string() }),
  z.object({ type: z.literal('roots'), roots: z.array(z.string()) }),
  z.object({ type: z.literal('beat'), at: unixSeconds }),
  /**
   * Carries a statement for the agent of a closed session. Like the next event, it is sent only to edges that request
   * it (CONTROL_HEADER).
   */
  z.object({ type: z.literal('notice'), id: z.string(), statement: z.string().max(MAX_STATEMENT_LENGTH) }),
  /**
   * Carries a statement for agents with this set. Sent for a new configuration, and for known ones after a snapshot.
   */
  z.object({
    type: z.literal('configuration'),
    set: z.string(),
    digest: z.string().max(64),
    statement: z.string().max(MAX_STATEMENT_LENGTH),
  }),
  /**
   * Announces that an edge is terminating while it still carries tunnels of these sessions. Sent only to edges that
   * support the event (CONTROL_HEADER).
   */
  z.object({ type: z.literal('draining'), sessions: z.array(DrainingTunnels).max(MAX_DRAINING_SESSIONS) }),
]);
export type EdgeEvent = z.infer<typeof EdgeEvent>;
