/**
 * Schemas for the messages between the agent and the broker, as described in docs/interfaces/protocol.md.
 * JSON on the wire uses snake_case, as in OAuth 2.0.
 */
import { z } from 'zod';
import { MAX_STATEMENT_LENGTH } from './channel/statement.ts';
import { KubernetesAccess } from './kubernetes.ts';
import { compactJws, dnsName, grant, MAX_GRANTS, PublicKey, port, text, unixSeconds } from './schema/fields.ts';
import { isServiceAddress } from './service-address.ts';
import { isTrustDomain, parseSpiffe } from './spiffe.ts';
import { PEM_CERTIFICATES } from './text.ts';

export { MAX_GRANTS, PublicKey };

// The agent does not trust the broker with its machine, so every value from the broker has bounds. Text may be printed
// to a terminal, a name may be written to the hosts file, and a number may be used in a timer.
/** The lifetime of a credential that can be renewed, in seconds. */
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
/** A bearer token (RFC 6750 section 2.1, `b68token`), which only contains characters that are allowed in a header. */
const bearer = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9._~+/-]+=*$/);
const pem = z.string().max(131_072).regex(PEM_CERTIFICATES);
const roots = z.array(pem).max(64);

/** Matches custom headers in lower case, `x-...`. */
const TOKEN_HEADER = /^x-[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?$/;
/** Matches headers that proxies set and trust. */
const OF_PROXIES = /^x-(?:forwarded|envoy|b3|request-id|real-ip|istio)(?:-|$)/;

/**
 * Whether a name is that of a custom header that may contain the identity token. The agent replaces this header in
 * requests. It must therefore not be a header that frames the message (`content-length`), routes it (`host`) or belongs
 * to the application (`authorization`).
 */
export function isTokenHeader(name: string): boolean {
  return TOKEN_HEADER.test(name) && !OF_PROXIES.test(name);
}

/** A host name or address outside the mesh. It is used for connections and displayed in messages. */
const outsideHost = z
  .string()
  .max(253)
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.:-]*[A-Za-z0-9])?$/);

/**
 * The maximum number of operations that are listed for each service. The broker rejects access files that need more.
 */
export const MAX_ALLOWED_OPERATIONS = 500;
/** The maximum length of an operation in characters. */
export const MAX_OPERATION_LENGTH = 4_096;
/** The maximum number of ServiceAccounts for each service. The broker rejects access files that need more. */
export const MAX_SERVICE_ACCOUNTS_PER_SERVICE = 100;

/** A service that a session can reach under one of its grants. */
export const ReachableService = z.object({
  grant,
  /** The full name, such as `orders.shop.svc.cluster.local`. */
  host: dnsName,
  port,
  /**
   * The loopback address in 127.64.0.0/10 that workspaces use for the host. All ports of a host share its address, and
   * no other host ever uses it.
   */
  address: z.string().refine(isServiceAddress, 'is not a valid loopback address for a service').optional(),
  /** Shorter names for the same host, such as `orders.shop.svc` and `orders.shop`. */
  aliases: z.array(dnsName).max(8),
  protocol: z.enum(['http', 'http2', 'tcp']),
  /**
   * The operations that are granted, as text (`GET /orders/*`, `POST /refunds (with department finance)`, `but not GET
   * /orders/internal/*`). Absent if the whole port is granted. The list is for display only, because access is enforced
   * by the sidecar.
   */
  allow: z.array(text(MAX_OPERATION_LENGTH)).max(MAX_ALLOWED_OPERATIONS).optional(),
  /**
   * The SPIFFE ids that the workload may present. The agent rejects all others. The list is empty if no workload is
   * running.
   */
  spiffe_ids: z.array(spiffeId).max(MAX_SERVICE_ACCOUNTS_PER_SERVICE),
});
export type ReachableService = z.infer<typeof ReachableService>;

/** This bound is never reached in practice, because a response reaches its limit of 1 MiB first. */
const services = z.array(ReachableService).max(4_096);

/** A grant that a session currently has. */
export const SessionGrantInfo = z.object({
  grant,
  /** The SPIFFE id of the session under this grant. If a grant is lost and regained, it gets a new id. */
  spiffe_id: spiffeId,
  /** When the grant ends in this session, in Unix seconds. */
  until: unixSeconds,
  /** The reason why a live session gained the grant. Absent if the session was opened with it. */
  gained: word(64).optional(),
});
export type SessionGrantInfo = z.infer<typeof SessionGrantInfo>;
const held = z.array(SessionGrantInfo).max(MAX_GRANTS);

export const SessionInfo = z.object({
  id: word(128),
  subject: text(1_024),
  login: text(256),
  workspace: text(1_024),
  /** The latest time at which the session can end, in Unix seconds. */
  expires_at: unixSeconds,
  heartbeat_seconds: lifetime.positive(),
  grants,
  held,
});
export type SessionInfo = z.infer<typeof SessionInfo>;

export const MeshInfo = z.object({
  trust_domain: z.string().refine(isTrustDomain, 'is not a valid trust domain'),
  /** All trusted roots of the mesh in PEM format. */
  roots,
  edge: z.object({ host: outsideHost, port }),
  /** The request header that contains the identity token. */
  token_header: z.string().refine(isTokenHeader, 'cannot carry the identity token'),
  /** The keys for verifying the broker's statements (see `channel/statement.ts`). */
  statement_keys: z
    .array(PublicKey.extend({ kid: word(64) }))
    .min(1)
    .max(8),
  /** The contact from the access file. */
  contact: text(200).optional(),
});
export type MeshInfo = z.infer<typeof MeshInfo>;

/** The response to a `POST /token` request with a session token. It contains a JWT for a single audience. */
export const TokenResponse = z.object({
  access_token: compactJws,
  issued_token_type: word(128),
  token_type: z.literal('N_A'),
  expires_in: lifetime,
});
export type TokenResponse = z.infer<typeof TokenResponse>;

/**
 * The maximum number of CSRs that can be sent with a proof to get the session's initial credentials. Certificates for
 * any other grants need a separate request.
 */
export const MAX_INITIAL_CSRS = 8;

/**
 * The maximum size of a configuration in the response for a new session, in bytes. A larger one needs a separate
 * request.
 */
export const MAX_INITIAL_CONFIGURATION_BYTES = 131_072;

const certificates = z
  .array(
    z.object({
      grant,
      spiffe_id: spiffeId,
      /** The certificate chain in PEM format. The leaf comes first, and roots are not included. */
      chain: pem,
      not_before: unixSeconds,
      not_after: unixSeconds,
    }),
  )
  .max(MAX_GRANTS);

/** An Envoy resource: a google.protobuf.Any of at most 1 MiB, in base64. */
const resource = z
  .string()
  .max(1_400_000)
  .regex(/^[A-Za-z0-9+/]*={0,2}$/);
const resources = z.array(resource).max(4_096);

/**
 * The response to `GET /session/configuration`. It contains the configuration for the workspace's Envoy, and lists the
 * parts of Istio's configuration that were omitted. The header (`ConfigurationStatement`) contains the version.
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
 * The response to a `POST /token` request with a proof, which opens a new session (RFC 8693 section 2.2.1 with
 * additional fields). If the request contained CSRs, the response also contains those initial credentials that are
 * immediately available. The client requests all other credentials as usual.
 */
export const SessionResponse = z.object({
  access_token: bearer,
  issued_token_type: word(128),
  token_type: z.literal('DPoP'),
  expires_in: lifetime,
  session: SessionInfo,
  mesh: MeshInfo,
  services,
  /** Absent if none of the session's grants has any Kubernetes roles. */
  kubernetes: KubernetesAccess.optional(),
  /** The certificates for the session's initial grants, in the order of the CSRs. */
  certificates: certificates.optional(),
  identity_token: TokenResponse.optional(),
  configuration: z
    .object({
      /** The ConfigurationStatement for the content. */
      statement: z.string().max(MAX_STATEMENT_LENGTH),
      /** The response body of `GET /session/configuration`, as a string. */
      content: z.string().max(MAX_INITIAL_CONFIGURATION_BYTES),
    })
    .optional(),
});
export type SessionResponse = z.infer<typeof SessionResponse>;

/**
 * The request body of `POST /certificates`. It contains a CSR (PEM, PKCS#10) for each grant. The grant determines the
 * SPIFFE id, and names in a CSR are ignored. The size of a CSR is limited to 8 KiB when it is checked
 * (`csr_too_large`), so this schema only applies the limit for the body.
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
  /** The current grants, including those that do not give access to any service at the moment. */
  held,
  mesh: MeshInfo,
  services,
  kubernetes: KubernetesAccess.optional(),
});
export type ServicesResponse = z.infer<typeof ServicesResponse>;

/**
 * A challenge that a Codespace must answer before the broker opens a session (`presence_required`,
 * docs/interfaces/protocol.md). The broker requests `path` through GitHub's port forwarding, and the agent responds
 * with the result of `createPresenceProof()`.
 */
export const PresenceChallenge = z.object({
  nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** A path that the broker chose, so that it cannot be the path of another resource in the workspace. */
  path: z.string().regex(/^\/[A-Za-z0-9_-]{43}$/),
  /** How long the challenge is valid, in seconds. */
  expires_in: z.number().int().min(1).max(300),
});
export type PresenceChallenge = z.infer<typeof PresenceChallenge>;

/**
 * The body of every error response. `error` is the OAuth 2.0 code, and `error_code` is Meshpass's own
 * (docs/troubleshooting.md).
 */
export const ErrorResponse = z.object({
  error: z.string(),
  error_description: z.string(),
  error_code: z.string(),
  /** The id of the audited decision. Users quote it when they contact an operator. */
  decision_id: z.string().optional(),
  /** The presence challenge. It is only sent with `presence_required`. */
  presence: PresenceChallenge.optional(),
  /**
   * The contact from the access file. It is only sent with `access_none` and `operator_no_role`, after the identity has
   * been proven.
   */
  contact: z.string().optional(),
  /**
   * The grants that need approval and that the person may request in a session. They are only sent with `access_none`.
   */
  requestable: z.array(z.string()).optional(),
});
export type ErrorResponse = z.infer<typeof ErrorResponse>;
