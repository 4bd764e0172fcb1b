/** The tables, as Kysely sees them. Times are `timestamptz` and come back as Date from both engines. */
import type { ColumnType, Generated } from 'kysely';

type Time = ColumnType<Date, Date | string, Date | string>;
type MaybeTime = ColumnType<Date | null, Date | string | null, Date | string | null>;

export interface SessionsTable {
  id: string;
  /** SHA-256 of the session token, hex. The token itself is nowhere. */
  token_hash: string;
  /** RFC 7638 thumbprint of the DPoP key. */
  jkt: string;
  attestor: string;
  issuer: string;
  subject: string;
  login: string;
  workspace_key: string;
  workspace_name: string;
  /** JSON text of the attestation: access is decided again from it when the access file changes. */
  attestation: string;
  /** JSON text: name and end (Unix seconds) of each grant that is still held, and why and when a live session gained it. */
  grants: string;
  opened_at: Time;
  expires_at: Time;
  closed_at: MaybeTime;
  close_cause: string | null;
  /** End of the lease that a restarted broker gave, while the session has not been heard since; see session/leases.ts. */
  graced_until: MaybeTime;
  /** JSON text: sign-ins beside the proof; null: none. In place of those of `attestation`. */
  sign_ins: string | null;
}

export interface SessionPrincipalsTable {
  session_id: string;
  grant_name: string;
  namespace: string;
  service_account: string;
  spiffe_id: string;
  /** End of the last SVID that this principal has or may have; null before the first was asked for. */
  last_not_after: MaybeTime;
  /** Set when the principal lost its access, with its session or alone. */
  revoked_at: MaybeTime;
  /** Why, where it lost it alone; with its session: `sessions.close_cause`. */
  revoke_cause: string | null;
}

export interface ProofReplayTable {
  /** SHA-256 of issuer and `jti` (of the signed part of the proof where it has no `jti`), hex. */
  key: string;
  expires_at: Time;
}

export interface AuditTable {
  /** Order of writing, without gaps; `id` is the order of deciding. */
  seq: string;
  /** Hash of the row before; see audit/log/leaf.ts. */
  previous: string;
  hash: string;
  /** UUIDv7: the `decision_id` of answers. */
  id: string;
  time: Time;
  action: string;
  outcome: 'allowed' | 'refused' | 'ended';
  code: string | null;
  reason: string;
  subject: string | null;
  login: string | null;
  issuer: string | null;
  session_id: string | null;
  workspace: string | null;
  grant_name: string | null;
  /** Each grant with the place in the access file that gives it. */
  rule: string | null;
  target: string | null;
  proof_hash: string | null;
  source: string | null;
  request_id: string | null;
  /** JSON text with what else an auditor wants to know. */
  detail: string | null;
}

/** Signed checkpoints of the log, and what is needed to go on from them. */
export interface AuditCheckpointsTable {
  /** Rows it speaks of. */
  size: string;
  /** Of the last of them. */
  hash: string;
  /** JSON text: see audit/log/tree.ts. */
  peaks: string;
  /** The checkpoint itself. */
  note: string;
  time: Time;
}

/** What stands for rows that were pruned; the last one counts. */
export type AuditCutsTable = AuditCheckpointsTable;

/** Restores from a backup that were declared: see audit/checkpoint/epoch.ts. */
export interface AuditRestoresTable {
  /** Of the log from then on. */
  epoch: number;
  /** Its first checkpoint. */
  note: string;
  time: Time;
}

/** Access files that were applied by plan; the last one is in force. */
export interface AccessVersionsTable {
  version: string;
  time: Time;
  applied_by: string;
  reason: string;
  /** Id of the plan. */
  plan: string;
  /** Name of the first file. */
  main: string;
  /** JSON text: content by path. */
  files: string;
}

/** What GitHub said is true no longer, see attest/github/losses.ts. */
export interface LossesTable {
  fact: string;
  learnt_at: Time;
}

/** The newest version of the configuration of a set of grants, see xds/versions.ts. */
export interface ConfigurationVersionsTable {
  /** SHA-256 of the names of the grants, hex. */
  grants: string;
  /** SHA-256 of the configuration, hex. */
  digest: string;
  version: string;
}

/** One row at most: the file on disk that came into force last. */
export interface AccessInForceTable {
  singleton: Generated<boolean>;
  /** SHA-256 of its text and that of what it includes, hex. */
  digest: string;
}

/** Requests for approval: approval/request.ts. */
export interface ApprovalRequestsTable {
  id: string;
  session_id: string;
  issuer: string;
  subject: string;
  login: string;
  workspace: string;
  /** JSON text: issuer and subject of each identity of whoever asked. */
  identities: string;
  grant_name: string;
  seconds: number;
  reason: string | null;
  asked_at: Time;
  answer_by: Time;
  needed: number;
  state: string;
  /** JSON text. */
  answers: string;
  until: MaybeTime;
  /** Of what was taken in an emergency; null: it was asked for. */
  review_state: string | null;
  /** JSON text: until when it must be reviewed, by whom, and what they said. */
  review: string | null;
}

/** Sessions of operators. What they may do is decided anew at each request, from the attestation and the access file. */
export interface OperatorSessionsTable {
  id: string;
  /** SHA-256 of the token, hex. The token itself is nowhere. */
  token_hash: string;
  /** RFC 7638 thumbprint of the DPoP key. */
  jkt: string;
  kind: 'person' | 'service-account';
  issuer: string;
  subject: string;
  login: string;
  /** JSON text of the attestation of a person. */
  attestation: string | null;
  source: string | null;
  opened_at: Time;
  expires_at: Time;
  closed_at: MaybeTime;
  close_cause: string | null;
  /** When the issuer last confirmed the person; null: not since the session opened, as far as a broker before 017 knew. */
  confirmed_at: MaybeTime;
}

/** Actions of operators that wait for a second person, or were confirmed: operator/confirmations.ts. */
export interface OperatorConfirmationsTable {
  id: string;
  action: string;
  method: string;
  path: string;
  /** JSON text of the parameters; empty once it is closed. */
  body: string;
  /** SHA-256 of action, route and parameters. */
  digest: string;
  /** Of the session of who asked. */
  session_id: string;
  subject: string;
  login: string;
  reason: string | null;
  target: string | null;
  asked_at: Time;
  expires_at: Time;
  closed_at: MaybeTime;
  /** Of one that is closed: null where it was withdrawn. */
  confirmed_by: string | null;
}

/** Messages to webhooks that have not been taken yet: approval/webhook/deliver.ts. */
export interface ApprovalDeliveriesTable {
  /** `webhook-id` of the message. */
  id: string;
  webhook: string;
  request_id: string;
  /** What is signed and sent. */
  body: string;
  created_at: Time;
  next_at: Time;
  attempts: number;
}

/** One row: which broker process may write. A newer one raises it, and the older one's writes fail. */
export interface BrokerEpochTable {
  singleton: boolean;
  epoch: number;
  /** JSON text: who that is, see leader-record.ts. */
  holder: string | null;
}

export interface Tables {
  sessions: SessionsTable;
  session_principals: SessionPrincipalsTable;
  proof_replay: ProofReplayTable;
  audit: AuditTable;
  audit_checkpoints: AuditCheckpointsTable;
  audit_cuts: AuditCutsTable;
  audit_restores: AuditRestoresTable;
  access_versions: AccessVersionsTable;
  access_in_force: AccessInForceTable;
  broker_epoch: BrokerEpochTable;
  operator_sessions: OperatorSessionsTable;
  operator_confirmations: OperatorConfirmationsTable;
  losses: LossesTable;
  configuration_versions: ConfigurationVersionsTable;
  approval_requests: ApprovalRequestsTable;
  approval_deliveries: ApprovalDeliveriesTable;
}
