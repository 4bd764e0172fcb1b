/** Broker configuration, which is read from a file, from flags or from the chart (docs/operating-broker.md). */
import { MeshpassError } from '@meshpass/identity';
import { isTokenHeader } from '@meshpass/identity/token-header';
import { z } from 'zod';
import { PolicyAuthors } from '../admin/index.ts';
import { PRESENCE_MODES } from '../attest/index.ts';
import { DENY_ENDED_MODES } from '../core/index.ts';

const port = z.number().int().min(0).max(65_535);
const listen = (defaultPort: number) =>
  z.strictObject({ host: z.string().default('0.0.0.0'), port: port.default(defaultPort) });

const origin = (protocol: RegExp) =>
  z
    .url({ protocol })
    .refine((url) => new URL(url).origin === url, 'must be an origin, without a path or trailing slash');

/** Schema of the configuration, including defaults. */
export const BrokerConfig = z.strictObject({
  /** Origin that agents use (scheme, host and port only). It is the issuer of all tokens and the base of DPoP `htu`. */
  publicUrl: origin(/^https$/),
  listen: listen(8443).prefault({}),
  /** Listener for operators, probes and metrics. It serves plain HTTP inside the cluster. */
  operator: listen(9090).prefault({}),
  /** Origin that browsers use to reach the operator listener. The approvals page is served only if this is set. */
  operatorUrl: origin(/^https?$/)
    .refine(
      (url) => url.startsWith('https:') || ['127.0.0.1', 'localhost'].includes(new URL(url).hostname),
      'must use https or a loopback address',
    )
    .optional(),
  /** Paths of PEM files, which are reloaded when they change. */
  tls: z.strictObject({ certFile: z.string(), keyFile: z.string() }),
  /** Directory for the embedded store and the signing key. */
  dataDir: z.string(),
  /** URL of a PostgreSQL database (`postgres://...`) to use instead of the embedded store. */
  databaseUrl: z.string().optional(),
  /** Trust domain of the mesh. */
  trustDomain: z.string().default('cluster.local'),
  /** Address that agents use to reach the edge. */
  edge: z.strictObject({ host: z.string(), port }),
  /** Request header that carries the identity token. Agents accept only names that begin with `x-`. */
  tokenHeader: z
    .string()
    .refine(isTokenHeader, 'must be a header name that begins with x-')
    .default('x-meshpass-token'),
  /** `aud` of identity tokens. */
  tokenAudience: z.string().default('meshpass'),
  /** Maximum time for which a signing key is used. If 0, keys are rotated only at an operator's request. */
  signingKeyAgeSeconds: z
    .number()
    .int()
    .min(0)
    .default(30 * 86_400),
  /** Time for which a new signing key is published to the mesh and in the JWK Set before it is used. */
  signingKeyWaitSeconds: z.number().int().min(1).max(86_400).default(300),
  /** Path of a PEM file with the Ed25519 keys of the audit log. By default, it is created in the data directory. */
  auditKeyFile: z.string().optional(),
  /** Interval between signed checkpoints of the audit log. */
  auditCheckpointSeconds: z.number().int().min(1).max(86_400).default(10),
  /**
   * Path of the file that contains the newest checkpoint. Defaults to a file in `dataDir`. Brokers that use the same
   * store must share this file unless another sink is configured.
   */
  auditCheckpointFile: z.string().optional(),
  /** Minimum age in days at which audit rows can be pruned. */
  auditRetentionDays: z.number().int().min(30).max(36_500).default(90),
  /** Path of a file whose only line is the break-glass token. It is read only if `breakGlass` is set. */
  operatorTokenFile: z.string().optional(),
  /** Whether to accept the break-glass token, for emergencies in which operators cannot sign in. */
  breakGlass: z.boolean().default(false),
  /** Path of a file whose only line is the token for GitHub's audit log stream. If absent, streams are rejected. */
  githubEventTokenFile: z.string().optional(),
  /**
   * Directory with webhook secrets (admin/approval/webhook/keys.ts). If absent, messages are neither sent nor accepted.
   */
  approvalWebhookKeys: z.string().optional(),
  /** Whether Codespaces must prove presence (attest/presence/presence.ts). */
  codespacePresence: z.enum(PRESENCE_MODES).default('required'),
  /** Minimum time between queries for the organization's Codespaces. GitHub's rate limit may extend it. */
  githubSweepSeconds: z.number().int().min(1).max(3_600).default(10),
  /** Minimum time between queries for teams and members. */
  githubMemberSeconds: z.number().int().min(1).max(3_600).default(60),
  /** Jobs that may plan and apply access files. By default, only operators may do so. */
  policyAuthors: PolicyAuthors.optional(),
  /** CIDR blocks of proxies whose X-Forwarded-For header is trusted. */
  trustedProxies: z.array(z.string()).default([]),
  heartbeatSeconds: z.number().int().min(1).default(15),
  leaseSeconds: z.number().int().min(2).default(45),
  /** Grace period added to the leases of restored sessions, seconds. */
  restartGraceSeconds: z.number().int().min(0).default(60),
  /** Kinds of ended access that the root DENY policy covers (core/session/deny/ended.ts). */
  denyEnded: z.enum(DENY_ENDED_MODES).default('revoked'),
  /** Lifetime of identity tokens and ID tokens, seconds. */
  tokenSeconds: z.number().int().min(60).max(3_600).default(300),
  /**
   * Maximum number of concurrent exchanges for new sessions. Beyond it, the broker responds with 503. Live sessions
   * have separate limits.
   */
  maxExchanges: z.number().int().min(1).default(512),
  /** Maximum number of concurrent exchanges per source, which is an IPv4 address or an IPv6 /64. */
  maxExchangesPerSource: z.number().int().min(1).default(128),
  /**
   * Maximum number of connections per source that do not belong to an authenticated session, edge or operator. Beyond
   * it, each new connection evicts the oldest one.
   */
  maxStrangersPerSource: z.number().int().min(1).default(1_024),
  /**
   * Maximum number of public connections that stay open between requests. Keeping a TLS connection open costs Node
   * about 70 KB, and resuming it later costs half a millisecond of CPU for the handshake. Up to this number, it is
   * cheaper to keep connections open. Beyond it, it is cheaper to close them.
   */
  keptConnections: z.number().int().min(0).default(500),
});
export type BrokerConfig = z.infer<typeof BrokerConfig>;
export type BrokerConfigInput = z.input<typeof BrokerConfig>;

/**
 * Validates a configuration.
 * @throws MeshpassError `config_invalid`, which names the invalid field
 */
export function parseBrokerConfig(input: unknown): BrokerConfig {
  const parsed = BrokerConfig.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MeshpassError(
    'config_invalid',
    `The broker's configuration is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.`,
  );
}
