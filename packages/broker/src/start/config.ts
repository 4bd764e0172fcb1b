/** The broker's configuration, which can come from a file, from flags or from the chart (docs/operating-broker.md). */
import { MeshpassError } from '@meshpass/identity';
import { isTokenHeader } from '@meshpass/identity/wire';
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

/** The schema of the broker configuration, including default values. */
export const BrokerConfig = z.strictObject({
  /**
   * The origin at which agents reach the broker (scheme, host and port only). It is also the issuer of all tokens and
   * the base URL of DPoP `htu` claims.
   */
  publicUrl: origin(/^https$/),
  listen: listen(8443).prefault({}),
  /** The listener for operators, probes and metrics. It serves plain HTTP inside the cluster. */
  operator: listen(9090).prefault({}),
  /** The origin at which browsers reach the operator listener. The approvals page is served only if this is set. */
  operatorUrl: origin(/^https?$/)
    .refine(
      (url) => url.startsWith('https:') || ['127.0.0.1', 'localhost'].includes(new URL(url).hostname),
      'must use https or a loopback address',
    )
    .optional(),
  /** The paths to the PEM files for TLS. The broker reloads the files when they change. */
  tls: z.strictObject({ certFile: z.string(), keyFile: z.string() }),
  /** The directory that contains the embedded store and the signing key. */
  dataDir: z.string(),
  /** The URL of a PostgreSQL database (`postgres://...`) to use instead of the embedded store. */
  databaseUrl: z.string().optional(),
  /** The trust domain of the mesh. */
  trustDomain: z.string().default('cluster.local'),
  /** The address at which agents reach the edge. */
  edge: z.strictObject({ host: z.string(), port }),
  /** The request header that carries the identity token. Agents accept only header names that begin with `x-`. */
  tokenHeader: z
    .string()
    .refine(isTokenHeader, 'must be a header name that begins with x-')
    .default('x-meshpass-token'),
  /** The `aud` claim of identity tokens. */
  tokenAudience: z.string().default('meshpass'),
  /**
   * How long a signing key is used before it is rotated, in seconds. If 0, keys are only rotated when an operator
   * requests it.
   */
  signingKeyAgeSeconds: z
    .number()
    .int()
    .min(0)
    .default(30 * 86_400),
  /** How long a new signing key is published to the mesh and in the JWK Set before it is used, in seconds. */
  signingKeyWaitSeconds: z.number().int().min(1).max(86_400).default(300),
  /**
   * The path to a PEM file with the Ed25519 keys that sign the audit log. By default, the broker creates this file in
   * the data directory.
   */
  auditKeyFile: z.string().optional(),
  /** The number of seconds between signed checkpoints of the audit log. */
  auditCheckpointSeconds: z.number().int().min(1).max(86_400).default(10),
  /**
   * The path to the file that contains the latest checkpoint. Defaults to a file in `dataDir`. Brokers that use the
   * same store must share this file unless another checkpoint sink is configured.
   */
  auditCheckpointFile: z.string().optional(),
  /** How old an audit row must be before it can be pruned, in days. */
  auditRetentionDays: z.number().int().min(30).max(36_500).default(90),
  /** The path to a file whose only line is the break-glass token. The file is only read if `breakGlass` is set. */
  operatorTokenFile: z.string().optional(),
  /** Whether to accept the break-glass token. It is meant for emergencies in which operators cannot sign in. */
  breakGlass: z.boolean().default(false),
  /**
   * The path to a file whose only line is the token for GitHub's audit log stream. Without it, the broker rejects the
   * stream.
   */
  githubEventTokenFile: z.string().optional(),
  /**
   * The directory that contains the webhook secrets (admin/approval/webhook/keys.ts). Without it, webhook messages are
   * neither sent nor accepted.
   */
  approvalWebhookKeys: z.string().optional(),
  /** Whether a Codespace has to prove its presence (attest/presence/presence.ts). */
  codespacePresence: z.enum(PRESENCE_MODES).default('required'),
  /**
   * The minimum number of seconds between queries for the organization's Codespaces. GitHub's rate limit may make the
   * interval longer.
   */
  githubSweepSeconds: z.number().int().min(1).max(3_600).default(10),
  /** The minimum number of seconds between queries for teams and members. */
  githubMemberSeconds: z.number().int().min(1).max(3_600).default(60),
  /** The CI jobs that may plan and apply access files. By default, only operators may do so. */
  policyAuthors: PolicyAuthors.optional(),
  /** The CIDR blocks of proxies whose X-Forwarded-For header is trusted. */
  trustedProxies: z.array(z.string()).default([]),
  heartbeatSeconds: z.number().int().min(1).default(15),
  leaseSeconds: z.number().int().min(2).default(45),
  /** A grace period that is added to the leases of restored sessions, in seconds. */
  restartGraceSeconds: z.number().int().min(0).default(60),
  /**
   * Selects the kinds of ended access that the DENY policy in the root namespace covers (core/session/deny/ended.ts).
   */
  denyEnded: z.enum(DENY_ENDED_MODES).default('revoked'),
  /** The lifetime of identity tokens and ID tokens, in seconds. */
  tokenSeconds: z.number().int().min(60).max(3_600).default(300),
  /**
   * The maximum number of concurrent token exchanges for new sessions. Above this limit, the broker responds with 503.
   * Live sessions have separate limits.
   */
  maxExchanges: z.number().int().min(1).default(512),
  /** The maximum number of concurrent token exchanges per source. A source is an IPv4 address or an IPv6 /64. */
  maxExchangesPerSource: z.number().int().min(1).default(128),
  /**
   * The maximum number of connections per source that do not belong to an authenticated session, edge or operator.
   * Above this limit, each new connection evicts the oldest one.
   */
  maxStrangersPerSource: z.number().int().min(1).default(1_024),
  /**
   * The maximum number of public connections that are kept open between requests. An open TLS connection costs Node
   * about 70 KB of memory, while a new handshake costs half a millisecond of CPU time. Up to this number, keeping
   * connections open is cheaper. Beyond it, closing them is.
   */
  keptConnections: z.number().int().min(0).default(500),
});
export type BrokerConfig = z.infer<typeof BrokerConfig>;
export type BrokerConfigInput = z.input<typeof BrokerConfig>;

/**
 * Validates a broker configuration and fills in the defaults.
 * @throws MeshpassError `config_invalid` with the name of the invalid field
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
