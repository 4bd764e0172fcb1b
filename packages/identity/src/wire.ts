/**
 * What agent, broker and edge say to each other, as schemas. docs/protocol.md is the prose of this file.
 * JSON on the wire is snake_case, as OAuth 2.0 is.
 */
import { z } from 'zod';

const dnsName = z.string().min(1).max(253);
const port = z.number().int().min(1).max(65535);
const unixSeconds = z.number().int().nonnegative();

/** A service that a session may reach, under one of its grants. */
export const ReachableService = z.object({
  grant: z.string(),
  /** Full name: `orders.shop.svc.cluster.local`. */
  host: dnsName,
  /** Service port. */
  port,
  /** Shorter names that mean the same: `orders.shop.svc`, `orders.shop`. */
  aliases: z.array(dnsName),
  protocol: z.enum(['http', 'http2', 'tcp']),
  /**
   * Granted operations (`GET /orders/*`, `POST /refunds (with department finance)`, `but not GET /orders/internal/*`); absent
   * where the whole port is granted. For people: the sidecar decides.
   */
  allow: z.array(z.string()).optional(),
  /** SPIFFE ids that the workload may present; the agent accepts no other. Empty: no workload runs now. */
  spiffe_ids: z.array(z.string()),
});
export type ReachableService = z.infer<typeof ReachableService>;

export const SessionInfo = z.object({
  id: z.string(),
  subject: z.string(),
  login: z.string(),
  workspace: z.string(),
  /** Hard end of the session, Unix seconds. */
  expires_at: unixSeconds,
  /** The lease lapses this long after the last heartbeat. */
  lease_seconds: z.number().int().positive(),
  heartbeat_seconds: z.number().int().positive(),
  grants: z.array(z.string()),
});
export type SessionInfo = z.infer<typeof SessionInfo>;

export const MeshInfo = z.object({
  trust_domain: z.string(),
  /** PEM of every root of the mesh that is trusted now. */
  roots: z.array(z.string()),
  edge: z.object({ host: dnsName, port }),
  /** Request header that carries the identity token. */
  token_header: z.string(),
});
export type MeshInfo = z.infer<typeof MeshInfo>;

/** Answer of `POST /token` to a proof: a new session (RFC 8693 section 2.2.1 with members of ours). */
export const SessionResponse = z.object({
  access_token: z.string(),
  issued_token_type: z.string(),
  token_type: z.literal('DPoP'),
  expires_in: z.number().int().nonnegative(),
  session: SessionInfo,
  mesh: MeshInfo,
  services: z.array(ReachableService),
});
export type SessionResponse = z.infer<typeof SessionResponse>;

/** Answer of `POST /token` to a session token: a JWT for one audience. */
export const TokenResponse = z.object({
  access_token: z.string(),
  issued_token_type: z.string(),
  token_type: z.literal('N_A'),
  expires_in: z.number().int().nonnegative(),
});
export type TokenResponse = z.infer<typeof TokenResponse>;

/**
 * `POST /certificates`: one CSR (PEM, PKCS#10) per grant. Names in a CSR are ignored: the grant decides the SPIFFE id. One
 * CSR may have 8 KiB; that is for the check of CSRs to say (`csr_too_large`), so only the body bounds it here.
 */
export const CertificateRequest = z.object({
  certificates: z
    .array(z.object({ grant: z.string().min(1).max(63), csr: z.string().min(1).max(65_536) }))
    .min(1)
    .max(32),
});
export type CertificateRequest = z.infer<typeof CertificateRequest>;

export const CertificateResponse = z.object({
  certificates: z.array(
    z.object({
      grant: z.string(),
      spiffe_id: z.string(),
      /** PEM, leaf first, roots left out. */
      chain: z.string(),
      not_before: unixSeconds,
      not_after: unixSeconds,
    }),
  ),
  roots: z.array(z.string()),
});
export type CertificateResponse = z.infer<typeof CertificateResponse>;

/**
 * Answer of `POST /session/heartbeat`. `services_version` changes when `GET /services` would answer anew; it is absent while a
 * broker that has just started does not know yet what any session may reach.
 */
export const HeartbeatResponse = z.object({
  lease_expires_at: unixSeconds,
  expires_at: unixSeconds,
  services_version: z.string().optional(),
  /** Ids of the keys that tokens verify by; a token of any other is worthless, and a new one is to be asked for. */
  token_keys: z.array(z.string()).optional(),
});
export type HeartbeatResponse = z.infer<typeof HeartbeatResponse>;

export const ServicesResponse = z.object({
  services_version: z.string(),
  mesh: MeshInfo,
  services: z.array(ReachableService),
});
export type ServicesResponse = z.infer<typeof ServicesResponse>;

/** Body of every refusal. `error` is the OAuth 2.0 code, `error_code` ours (docs/troubleshooting.md). */
export const ErrorResponse = z.object({
  error: z.string(),
  error_description: z.string(),
  error_code: z.string(),
  /** Id of the audited decision, to give to an operator. */
  decision_id: z.string().optional(),
});
export type ErrorResponse = z.infer<typeof ErrorResponse>;

/** A live session as the edge needs to know it. */
export const AdmittedSession = z.object({
  id: z.string(),
  subject: z.string(),
  expires_at: unixSeconds,
  /** Who may go where: one principal (SPIFFE id) per grant. */
  principals: z.array(z.object({ spiffe_id: z.string(), targets: z.array(z.object({ host: dnsName, port })) })),
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
]);
export type EdgeEvent = z.infer<typeof EdgeEvent>;

/** What the edge decided about a tunnel; the broker writes it to the audit log. */
export const EdgeDecision = z.object({
  id: z.string(),
  at: z.number(),
  outcome: z.enum(['allowed', 'refused', 'ended']),
  code: z.string().optional(),
  reason: z.string(),
  session_id: z.string().optional(),
  spiffe_id: z.string().optional(),
  target: z.string().optional(),
  source: z.string(),
  bytes_in: z.number().optional(),
  bytes_out: z.number().optional(),
  /** Life of an ended tunnel, ms. */
  duration_ms: z.number().optional(),
});
export type EdgeDecision = z.infer<typeof EdgeDecision>;

export const EdgeDecisions = z.object({ decisions: z.array(EdgeDecision).max(1000) });
