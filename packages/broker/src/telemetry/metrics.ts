/** Prometheus metrics of one broker. */
import type { CertificateLife } from '@meshpass/identity/certificate-life';
import { VERSION } from '@meshpass/identity/version';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { ALERTED_CODES, ALERTED_FAILURES } from './alerted.ts';
import { DELIVERY_OUTCOMES, type DeliveryOutcome } from './delivery-outcome.ts';

export interface Metrics {
  readonly registry: Registry;
  readonly decision: (action: string, outcome: string, code: string) => void;
  readonly request: (route: string, status: number, seconds: number) => void;
  readonly batch: (entries: number, seconds: number) => void;
  readonly closed: (cause: string) => void;
  /** A live session gained a grant. */
  readonly gained: (cause: string) => void;
  /** A refusal that is counted, and has no row of its own in the audit log. */
  readonly metered: (action: string, code: string) => void;
  /** By name of the issuer in the access file. */
  readonly signIn: (issuer: string, outcome: string) => void;
  readonly failure: (where: string) => void;
  /** Events of GitHub's audit log that concern Codespaces and members. */
  readonly githubEvents: (count: number) => void;
  /** Messages about approvals were sent, or not. */
  readonly webhookTried: (webhook: string, outcome: DeliveryOutcome, messages: number) => void;
  /** A request came with the operator token: nobody knows whose. */
  readonly breakGlass: () => void;
  /** From now on these are read; a broker that waits has none of them. */
  readonly measure: (gauges: Gauges) => void;
}

/** What only the active broker has. */
export interface Gauges {
  /** Whether it is known to be it. */
  readonly isActive: () => boolean;
  readonly liveSessions: () => number;
  readonly pendingRevocations: () => number;
  /** Unix seconds since which the signing key signs. */
  readonly signingSince: () => number;
  /** Of the certificate that the public listener shows. */
  readonly certificate: () => CertificateLife;
  /** Of the mesh, those that are known; `notAfter` is Unix seconds. */
  readonly roots: () => readonly { readonly root: string; readonly notAfter: number }[];
  /** Grants that others' policies break, and what holders reach beyond them; undefined where that is not watched. */
  readonly policyFindings: () => number | undefined;
  /** What was taken in an emergency and needs a review, by its state. */
  readonly emergencyReviews: () => Readonly<Record<string, number>>;
  /** Objects that are not as compiled; undefined where the broker writes them itself. */
  readonly policyDrift: () => number | undefined;
  /** Streams to istiod: one for each grant of a live session. */
  readonly configurationStreams: () => number;
  /** What workspaces are not given of what istiod sent for them. */
  readonly configurationLeftOut: () => readonly { readonly what: string; readonly count: number }[];
  /** Of what watches GitHub; undefined where nothing does, or nothing is known yet. */
  readonly github: Readonly<Record<keyof typeof GITHUB_GAUGES, () => number | undefined>>;
}

const CERTIFICATE_GAUGES = {
  notBefore: [
    'meshpass_tls_certificate_not_before_timestamp_seconds',
    'Unix time from which the certificate that is shown is good',
  ],
  notAfter: [
    'meshpass_tls_certificate_not_after_timestamp_seconds',
    'Unix time at which the certificate that is shown expires',
  ],
} as const;

const GITHUB_GAUGES = {
  sweepAge: ['meshpass_github_sweep_age_seconds', 'Time since the last full scan of Codespaces began'],
  memberAge: ['meshpass_github_member_age_seconds', 'Time since the last full scan of teams and members began'],
  callsLeft: ['meshpass_github_calls_left', 'API calls left in this hour, as reported by GitHub'],
} as const;

export function createMetrics(): Metrics {
  let gauges: Gauges | undefined;
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'meshpass_build_info',
    help: 'Always 1; the labels say what runs',
    labelNames: ['component', 'version'],
    registers,
  }).set({ component: 'broker', version: VERSION }, 1);
  const decisions = new Counter({
    name: 'meshpass_decisions_total',
    help: 'Audited decisions',
    labelNames: ['action', 'outcome', 'code'],
    registers,
  });
  const refusals = new Counter({
    name: 'meshpass_refusals_total',
    help: 'Refused decisions by code, whatever was asked for',
    labelNames: ['code'],
    registers,
  });
  for (const code of ALERTED_CODES) refusals.inc({ code }, 0);
  const requests = new Histogram({
    name: 'meshpass_http_request_seconds',
    help: 'Time from the request line to the end of the response',
    labelNames: ['route', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const entries = new Histogram({
    name: 'meshpass_journal_batch_entries',
    help: 'Entries that shared one transaction',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    registers,
  });
  const commits = new Histogram({
    name: 'meshpass_journal_commit_seconds',
    help: 'Time of one transaction',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers,
  });
  const closed = new Counter({
    name: 'meshpass_sessions_closed_total',
    help: 'Sessions that ended',
    labelNames: ['cause'],
    registers,
  });
  const gained = new Counter({
    name: 'meshpass_grants_gained_total',
    help: 'Grants that live sessions gained',
    labelNames: ['cause'],
    registers,
  });
  const signIns = new Counter({
    name: 'meshpass_sign_ins_total',
    help: 'Sign-ins of developers at the identity providers of the access file',
    labelNames: ['issuer', 'outcome'],
    registers,
  });
  const metered = new Counter({
    name: 'meshpass_refusals_metered_total',
    help: 'Refusals without a session that the audit log counts instead of listing',
    labelNames: ['action', 'code'],
    registers,
  });
  const failures = new Counter({
    name: 'meshpass_failures_total',
    help: "Failures of the broker's dependencies, by place",
    labelNames: ['where'],
    registers,
  });
  for (const where of ALERTED_FAILURES) failures.inc({ where }, 0);
  new Gauge({
    name: 'meshpass_broker_active',
    help: '1 where this broker is active, 0 where it is a standby or cannot tell',
    registers,
    collect() {
      this.set(gauges?.isActive() ? 1 : 0);
    },
  });
  new Gauge({
    name: 'meshpass_sessions_live',
    help: 'Live sessions',
    registers,
    collect() {
      this.set(gauges?.liveSessions() ?? 0);
    },
  });
  new Gauge({
    name: 'meshpass_revocations_pending',
    help: 'Revoked principals that the mesh has not confirmed',
    registers,
    collect() {
      this.set(gauges?.pendingRevocations() ?? 0);
    },
  });
  new Gauge({
    name: 'meshpass_signing_key_since_seconds',
    help: 'Unix time since which the current key signs tokens; 0 where this broker is not active',
    registers,
    collect() {
      this.set(gauges?.signingSince() ?? 0);
    },
  });
  for (const [key, [name, help]] of Object.entries(CERTIFICATE_GAUGES)) {
    new Gauge({
      ...{ name, help, registers, labelNames: ['component'] },
      collect() {
        const life = gauges?.certificate();
        if (life) this.set({ component: 'broker' }, life[key as keyof CertificateLife]);
      },
    });
  }
  new Gauge({
    name: 'meshpass_mesh_root_not_after_timestamp_seconds',
    help: 'Unix time at which a root of the mesh expires',
    labelNames: ['root'],
    registers,
    collect() {
      this.reset();
      for (const { root, notAfter } of gauges?.roots() ?? []) this.set({ root }, notAfter);
    },
  });
  new Gauge({
    name: 'meshpass_policy_findings',
    help: 'Grants that other policies break or widen',
    registers,
    collect() {
      const value = gauges?.policyFindings();
      if (value === undefined) this.reset();
      else this.set(value);
    },
  });
  new Gauge({
    name: 'meshpass_emergency_reviews',
    help: 'Grants that were taken in an emergency and need a review: open, overdue, or objected to',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(gauges?.emergencyReviews() ?? {})) this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'meshpass_policy_drift',
    help: 'With --gitops, objects that differ from what the access file compiles to',
    registers,
    collect() {
      const value = gauges?.policyDrift();
      if (value === undefined) this.reset();
      else this.set(value);
    },
  });
  new Gauge({
    name: 'meshpass_configuration_streams',
    help: 'Grants whose Envoy configuration istiod is asked for',
    registers,
    collect() {
      this.set(gauges?.configurationStreams() ?? 0);
    },
  });
  new Gauge({
    name: 'meshpass_configuration_left_out',
    help: 'Parts of the Envoy configuration that workspaces are not given, by type',
    labelNames: ['type'],
    registers,
    collect() {
      this.reset();
      for (const { what, count } of gauges?.configurationLeftOut() ?? []) this.inc({ type: what }, count);
    },
  });
  for (const [key, [name, help]] of Object.entries(GITHUB_GAUGES)) {
    new Gauge({
      ...{ name, help, registers },
      collect() {
        const value = gauges?.github[key as keyof typeof GITHUB_GAUGES]();
        if (value === undefined) this.reset();
        else this.set(value);
      },
    });
  }
  const webhooks = new Counter({
    name: 'meshpass_approval_webhooks_total',
    help: 'Messages to webhooks for approvals, by how the try ended, or that they are not tried any more',
    labelNames: ['webhook', 'outcome'],
    registers: [registry],
  });
  const breakGlass = new Counter({
    name: 'meshpass_break_glass_requests_total',
    help: 'Requests with the operator token, which has no name',
    registers,
  });
  const githubEvents = new Counter({
    name: 'meshpass_github_events_total',
    help: "Events of GitHub's audit log that concern Codespaces and members",
    registers,
  });
  return {
    registry,
    decision: (action, outcome, code) => {
      decisions.inc({ action, outcome, code });
      if (code !== '') refusals.inc({ code });
    },
    request: (route, status, seconds) => requests.observe({ route, status }, seconds),
    batch: (count, seconds) => {
      entries.observe(count);
      commits.observe(seconds);
    },
    closed: (cause) => closed.inc({ cause }),
    gained: (cause) => gained.inc({ cause }),
    metered: (action, code) => metered.inc({ action, code }),
    signIn: (issuer, outcome) => signIns.inc({ issuer, outcome }),
    failure: (where) => failures.inc({ where }),
    githubEvents: (count) => githubEvents.inc(count),
    webhookTried: (webhook, tried, messages) => {
      // An increase from nothing to one is none to Prometheus: each outcome begins at zero.
      for (const outcome of DELIVERY_OUTCOMES) webhooks.inc({ webhook, outcome }, outcome === tried ? messages : 0);
    },
    breakGlass: () => breakGlass.inc(),
    measure: (given) => {
      gauges = given;
    },
  };
}
