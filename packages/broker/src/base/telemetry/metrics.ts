/** Defines the Prometheus metrics of a broker. */
import { type CertificateValidity, VERSION } from '@meshpass/identity';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export type Metrics = ReturnType<typeof createMetrics>;

/**
 * The possible outcomes of delivering a webhook message. `dropped` means that the access file no longer contains the
 * webhook.
 */
const DELIVERY_OUTCOMES = ['delivered', 'failed', 'given_up', 'dropped'] as const;
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];

// The chart's alert rules are based on the following series. They have to be initialized to zero before the first
// event, because Prometheus does not treat a new series that starts at one as an increase. Otherwise, the first event
// would not raise an alert, and it might be the only one.

/** The error codes of refusals that raise an alert. */
const ALERTED_CODES = [
  ...['store_unavailable', 'ca_unavailable', 'kubernetes_unavailable', 'issuer_unavailable', 'issuer_rate_limited'],
  ...['dpop_replayed', 'break_glass_off'],
];
/** The components whose failures raise an alert. */
const ALERTED_FAILURES = ['audit'];

/** The names and descriptions of all gauges that have no labels. */
const GAUGES = {
  isActive: ['meshpass_broker_active', '1 if this broker is active, 0 if it is a standby or its role is unknown'],
  liveSessions: ['meshpass_sessions_live', 'Live sessions'],
  pendingRevocations: ['meshpass_revocations_pending', 'Revoked principals that the mesh has not confirmed'],
  signingSince: [
    'meshpass_signing_key_since_seconds',
    'Unix time when the current key began signing tokens; 0 if this broker is not active',
  ],
  policyFindings: ['meshpass_policy_findings', 'Grants that other policies break or widen'],
  accessFileRefused: [
    'meshpass_access_file_refused',
    '1 if the access file on disk is rejected, so that the previous file or none is in force',
  ],
  policyDrift: ['meshpass_policy_drift', 'With --gitops, objects that differ from the compiled access file'],
  configurationStreams: [
    'meshpass_configuration_streams',
    'Grants whose Envoy configuration the broker requests from istiod',
  ],
  githubSweepAge: ['meshpass_github_sweep_age_seconds', 'Time since the last full scan of Codespaces began'],
  githubMemberAge: ['meshpass_github_member_age_seconds', 'Time since the last full scan of teams and members began'],
  githubCallsLeft: ['meshpass_github_calls_left', 'API calls left this hour, as reported by GitHub'],
} as const;

/**
 * Functions that read the current values of the gauges. They are called on every scrape. A gauge that has no value,
 * such as on a standby, is reported as 0.
 */
interface Gauges extends Readonly<Record<keyof typeof GAUGES, () => number | boolean | undefined>> {
  /** The validity period of the public listener's certificate. */
  readonly certificate: () => CertificateValidity;
  /** The root certificates that the mesh is known to use. `notAfter` is in Unix seconds. */
  readonly roots: () => readonly { readonly root: string; readonly notAfter: number }[];
  /** The number of emergency grants that need a review, by review state. */
  readonly emergencyReviews: () => Readonly<Record<string, number>>;
  /** The parts of istiod's configuration that are withheld from workspaces. */
  readonly configurationLeftOut: () => readonly { readonly what: string; readonly count: number }[];
}

/** Creates all metrics and registers them in a new registry. */
export function createMetrics() {
  let gauges: Partial<Gauges> = {};
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <Label extends string>(name: string, help: string, buckets: number[], ...labelNames: Label[]) =>
    new Histogram({ name, help, buckets, labelNames, registers });
  /**
   * Registers a gauge that has one series per label value. If a value occurs more than once, its counts are added up.
   */
  const gaugeBy = (
    label: string,
    name: string,
    help: string,
    read: (gauges: Partial<Gauges>) => readonly (readonly [value: string, count: number])[],
  ) =>
    new Gauge({
      name,
      help,
      registers,
      labelNames: [label],
      collect() {
        this.reset();
        for (const [value, count] of read(gauges)) this.inc({ [label]: value }, count);
      },
    });

  new Gauge({
    name: 'meshpass_build_info',
    help: 'Always 1; the labels say what runs',
    labelNames: ['component', 'version'],
    registers,
  }).set({ component: 'broker', version: VERSION }, 1);
  const decisions = counter('meshpass_decisions_total', 'Audited decisions', 'action', 'outcome', 'code');
  const refusals = counter('meshpass_refusals_total', 'Refused decisions by code, for all actions', 'code');
  for (const code of ALERTED_CODES) refusals.inc({ code }, 0);
  const requests = histogram(
    'meshpass_http_request_seconds',
    'Time from the request line to the end of the response',
    [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    'route',
    'status',
  );
  const entries = histogram(
    'meshpass_journal_batch_entries',
    'Entries per transaction',
    [1, 2, 4, 8, 16, 32, 64, 128, 256],
  );
  const commits = histogram(
    'meshpass_journal_commit_seconds',
    'Duration of a transaction',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
  );
  const closed = counter('meshpass_sessions_closed_total', 'Sessions that ended', 'cause');
  const gained = counter('meshpass_grants_gained_total', 'Grants gained by live sessions', 'cause');
  const signIns = counter(
    'meshpass_sign_ins_total',
    "Developer sign-ins at the access file's identity providers",
    'issuer',
    'outcome',
  );
  const metered = counter(
    'meshpass_refusals_metered_total',
    'Refusals without a session, which the audit log counts instead of listing',
    'action',
    'code',
  );
  const failures = counter('meshpass_failures_total', "Failures of the broker's dependencies, by place", 'where');
  for (const where of ALERTED_FAILURES) failures.inc({ where }, 0);
  const webhooks = counter(
    'meshpass_approval_webhooks_total',
    'Approval webhook messages by delivery outcome, including messages no longer retried',
    'webhook',
    'outcome',
  );
  const breakGlass = counter(
    'meshpass_break_glass_requests_total',
    'Requests with the operator token, which identifies no person',
  );
  const githubEvents = counter('meshpass_github_events_total', 'GitHub audit log events about Codespaces and members');

  for (const [member, [name, help]] of Object.entries(GAUGES))
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(Number(gauges[member as keyof typeof GAUGES]?.() ?? 0));
      },
    });
  gaugeBy(
    'component',
    'meshpass_tls_certificate_not_before_timestamp_seconds',
    'Unix time from which the served certificate is valid',
    ({ certificate }) => (certificate ? [['broker', certificate().notBefore]] : []),
  );
  gaugeBy(
    'component',
    'meshpass_tls_certificate_not_after_timestamp_seconds',
    'Unix time at which the served certificate expires',
    ({ certificate }) => (certificate ? [['broker', certificate().notAfter]] : []),
  );
  gaugeBy(
    'root',
    'meshpass_mesh_root_not_after_timestamp_seconds',
    'Unix time at which a mesh root certificate expires',
    ({ roots }) => (roots?.() ?? []).map(({ root, notAfter }) => [root, notAfter]),
  );
  gaugeBy(
    'state',
    'meshpass_emergency_reviews',
    'Emergency grants that need a review: open, overdue, or objected to',
    ({ emergencyReviews }) => Object.entries(emergencyReviews?.() ?? {}),
  );
  gaugeBy(
    'type',
    'meshpass_configuration_left_out',
    'Envoy configuration withheld from workspaces, by type',
    ({ configurationLeftOut }) => (configurationLeftOut?.() ?? []).map(({ what, count }) => [what, count]),
  );

  return {
    registry,
    decision: (action: string, outcome: string, code: string) => {
      decisions.inc({ action, outcome, code });
      if (code !== '') refusals.inc({ code });
    },
    request: (route: string, status: number, seconds: number) => requests.observe({ route, status }, seconds),
    batch: (count: number, seconds: number) => {
      entries.observe(count);
      commits.observe(seconds);
    },
    closed: (cause: string) => closed.inc({ cause }),
    /** Counts a grant that a live session has gained. */
    gained: (cause: string) => gained.inc({ cause }),
    /** Counts a refusal that does not get its own audit row. */
    metered: (action: string, code: string) => metered.inc({ action, code }),
    /** Counts a sign-in under the name that the access file gives the issuer. */
    signIn: (issuer: string, outcome: string) => signIns.inc({ issuer, outcome }),
    failure: (where: string) => failures.inc({ where }),
    /** Counts events in GitHub's audit log that concern Codespaces or members. */
    githubEvents: (count: number) => githubEvents.inc(count),
    /** Counts approval messages by their delivery outcome. */
    webhookTried: (webhook: string, tried: DeliveryOutcome, messages: number) => {
      // Initialize every outcome to zero, because Prometheus does not treat a new series that starts at one as an
      // increase.
      for (const outcome of DELIVERY_OUTCOMES) webhooks.inc({ webhook, outcome }, outcome === tried ? messages : 0);
    },
    /**
     * Counts a request that was authenticated with the operator token, which does not identify a particular operator.
     */
    breakGlass: () => breakGlass.inc(),
    /** Sets the functions that the gauges are read from. They are not set while the broker is a standby. */
    measure: (given: Partial<Gauges>) => {
      gauges = { ...gauges, ...given };
    },
  };
}
