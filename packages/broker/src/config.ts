/** Configuration of the broker, as a file, flags or a chart give it. docs/operating-broker.md is its prose. */
import { MeshpassError } from '@meshpass/identity';
import { isTokenHeader } from '@meshpass/identity/token-header';
import { z } from 'zod';
import { PRESENCE_MODES } from './attest/presence/presence.ts';
import { PolicyAuthors } from './policy/author.ts';
import { DENY_ENDED } from './session/deny-ended.ts';

const port = z.number().int().min(0).max(65_535);
const listen = (defaultPort: number) =>
  z.strictObject({ host: z.string().default('0.0.0.0'), port: port.default(defaultPort) });

export const BrokerConfig = z.strictObject({
  /** What agents use: scheme, host and port, nothing else. Issuer of every token, and base of DPoP `htu`. */
  publicUrl: z
    .url({ protocol: /^https$/ })
    .refine((url) => new URL(url).origin === url, 'must be an origin, without a path or a final slash'),
  listen: listen(8443).prefault({}),
  /** Probes and metrics, plain HTTP: for the cluster's own eyes. */
  operator: listen(9090).prefault({}),
  /** Where people's browsers reach the operator listener: with it, that has the page for approvals. */
  operatorUrl: z
    .url({ protocol: /^https?$/ })
    .refine((url) => new URL(url).origin === url, 'must be an origin, without a path or a final slash')
    .refine(
      (url) => url.startsWith('https:') || ['127.0.0.1', 'localhost'].includes(new URL(url).hostname),
      'must be https, or a loopback address',
    )
    .optional(),
  /** PEM files; they are read anew when they change. */
  tls: z.strictObject({ certFile: z.string(), keyFile: z.string() }),
  /** Holds the embedded store and the signing key. */
  dataDir: z.string(),
  /** `postgres://...`: the store, in place of the embedded one. */
  databaseUrl: z.string().optional(),
  /** Trust domain of the mesh. */
  trustDomain: z.string().default('cluster.local'),
  /** Where agents find the edge. */
  edge: z.strictObject({ host: z.string(), port }),
  /** Request header that carries the identity token; agents take no other than `x-...`. */
  tokenHeader: z
    .string()
    .refine(isTokenHeader, 'must be a header name that begins with x-')
    .default('x-meshpass-token'),
  /** `aud` of identity tokens. */
  tokenAudience: z.string().default('meshpass'),
  /** PEM with the RSA keys that sign tokens; made in the data directory where absent. */
  signingKeyFile: z.string().optional(),
  /** A signing key of the broker's own is changed when it has signed for so long; 0: only when an operator asks. */
  signingKeyAgeSeconds: z
    .number()
    .int()
    .min(0)
    .default(30 * 86_400),
  /** How long the mesh and the readers of the public key set have a new signing key before it signs. */
  signingKeyWaitSeconds: z.number().int().min(1).max(86_400).default(300),
  /** PEM with the Ed25519 keys of the audit log; made in the data directory where absent. */
  auditKeyFile: z.string().optional(),
  /** Time between two signed checkpoints of the audit log. */
  auditCheckpointSeconds: z.number().int().min(1).max(86_400).default(10),
  /** File with the newest checkpoint; brokers of one store must share it where no other place is given. In `dataDir` where absent. */
  auditCheckpointFile: z.string().optional(),
  /** Days for which no row of the audit log can be pruned, whoever asks. */
  auditRetentionDays: z.number().int().min(30).max(36_500).default(90),
  /** File whose only line is the break-glass token. It is not even read unless `breakGlass` is on. */
  operatorTokenFile: z.string().optional(),
  /** Whether that token is accepted. Operators sign in; this is for the day on which nobody can. */
  breakGlass: z.boolean().default(false),
  /** File whose only line is the token with which GitHub streams its audit log; without it none is taken. */
  githubEventTokenFile: z.string().optional(),
  /** Directory with the secrets of webhooks, see approval/webhook/keys.ts; without it none is sent and none is taken. */
  approvalWebhookKeys: z.string().optional(),
  /** Which Codespaces have to show their presence, see attest/presence/presence.ts. */
  codespacePresence: z.enum(PRESENCE_MODES).default('required'),
  /** Least time between two looks at the organisation's Codespaces; GitHub's budget may make it longer. */
  githubSweepSeconds: z.number().int().min(1).max(3_600).default(10),
  /** Least time between two looks at teams and members. */
  githubMemberSeconds: z.number().int().min(1).max(3_600).default(60),
  /** Whose jobs plan and apply access files; absent: operators alone do. */
  policyAuthors: PolicyAuthors.optional(),
  /** CIDR blocks of proxies whose X-Forwarded-For is believed. */
  trustedProxies: z.array(z.string()).default([]),
  heartbeatSeconds: z.number().int().min(1).default(15),
  leaseSeconds: z.number().int().min(2).default(45),
  /** What a restored session's lease gets on top, seconds. */
  restartGraceSeconds: z.number().int().min(0).default(60),
  /** Which ends of access are written into the root DENY, see session/deny-ended.ts. */
  denyEnded: z.enum(DENY_ENDED).default('revoked'),
  /** Life of identity tokens and ID tokens, seconds. */
  tokenSeconds: z.number().int().min(60).max(3_600).default(300),
  /** New sessions that may be under way at once; more are answered 503. Live sessions have places of their own. */
  maxExchanges: z.number().int().min(1).default(512),
  /** Of those, how many may come from one source: an IPv4 address, or an IPv6 /64. */
  maxExchangesPerSource: z.number().int().min(1).default(128),
  /** Connections of one source that no live session, edge or operator has proven to be its own; a new one beyond takes the oldest's place. */
  maxStrangersPerSource: z.number().int().min(1).default(1_024),
  /**
   * Public connections that stay open between two requests. A kept TLS connection costs Node some 70 KB and the next resumed
   * handshake half a millisecond of CPU: up to here the one is cheaper, beyond it the other.
   */
  keptConnections: z.number().int().min(0).default(500),
});
export type BrokerConfig = z.infer<typeof BrokerConfig>;
export type BrokerConfigInput = z.input<typeof BrokerConfig>;

/** @throws MeshpassError `config_invalid`, naming the member */
export function readBrokerConfig(input: unknown): BrokerConfig {
  const parsed = BrokerConfig.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MeshpassError(
    'config_invalid',
    `The broker's configuration is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.`,
  );
}
