/** The broker: what it is given, what it makes, and how it starts. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Authorize } from '@meshpass/access';
import { type EdgeDecision, MeshpassError } from '@meshpass/identity';
import type { Logger } from 'pino';
import { startActive } from './active.ts';
import type { Attest } from './attest/attest.ts';
import type { Losses } from './attest/github/losses.ts';
import { openAuditKey } from './audit/checkpoint/key.ts';
import { type CheckpointSink, fileSink } from './audit/checkpoint/sink.ts';
import { type AdmittedLog, admitLog } from './audit/restore/admit.ts';
import { createAdoption } from './audit/restore/adopt.ts';
import { type Clock, type Random, seconds } from './clock/clock.ts';
import type { BrokerConfig } from './config.ts';
import type { Pace } from './github/rate-limiter.ts';
import type { ReadGithub } from './github/reader.ts';
import { readPair } from './http/listen.ts';
import { createStandbyApp, listenForOperators } from './http/standby.ts';
import type { CertificateAuthority } from './istiod/authority.ts';
import type { AuthorOf } from './policy/author.ts';
import { read } from './policy/change.ts';
import { readVersion } from './policy/history.ts';
import type { MeshState, PolicyMesh, Revoker } from './reconcile/contract.ts';
import type { PolicyDecisions } from './reconcile/policy-decisions.ts';
import { readPrivateFile } from './secrets/key-file.ts';
import type { Feed } from './session/feed.ts';
import type { LiveIndex } from './session/live.ts';
import type { Duty } from './store/active-state.ts';
import type { Holder, Shared } from './store/leader-record.ts';
import { openStore, type Store } from './store/open.ts';
import { createLog } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';
import type { RotatingSigner } from './token/signer.ts';

/** What the broker is built upon. */
export interface BrokerParts {
  readonly attest: Attest;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** What becomes of each access file: it goes into the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** openSigner(): made by the caller, because the mesh must know its JWKS before the broker serves. */
  readonly signer: RotatingSigner;
  /** TokenReview of an edge's bearer; absent where the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** Whom to ask about live sessions' Codespaces and teams, and how often one may; absent: leases alone decide. */
  readonly github?: { readonly read: ReadGithub; readonly pace: Pace };
  /** What `attest` holds its remembered answers against; of its own where absent. */
  readonly losses?: Losses;
  /** Where access files are applied by plan. */
  readonly policy?: { readonly mesh: PolicyMesh; readonly authorOf: AuthorOf | undefined };
  /** Where the newest checkpoint of the audit log is kept beside the file. */
  readonly checkpointSinks?: readonly CheckpointSink[];
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** The index of live sessions; createLiveIndex() where absent. */
  readonly live?: LiveIndex;
  /** Learns when this broker is the active one. */
  readonly duty?: Pick<Duty, 'begin'>;
  /** Ends the waiting of a broker that stands by. */
  readonly signal?: AbortSignal;
}

export interface Broker {
  /** As bound: useful where the configuration says port 0. */
  readonly port: number;
  readonly operatorPort: number;
  /** For an edge in this process. */
  readonly feed: Feed;
  /** @throws MeshpassError `store_unavailable`, `overloaded` */
  readonly reportEdgeDecisions: (decisions: readonly EdgeDecision[]) => Promise<void>;
  /** Resolves when the mesh has heard of every revocation so far. */
  readonly revocationsSettled: () => Promise<void>;
  /**
   * Resolves, with why, when another broker has taken over. By then this one serves nobody any more, and has closed what it
   * can: its process has to end.
   */
  readonly lost: Promise<MeshpassError>;
  /** Stops accepting, finishes what is under way within 10 s, makes everything durable. Sessions live on. */
  readonly close: () => Promise<void>;
}

const MIN_TOKEN = 32;

/**
 * Resolves once this broker is the active one: on PostgreSQL it stands by for as long as another is, and only its operator
 * listener answers.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, those of admitLog(); the reason of the signal
 */
export async function serveBroker(config: BrokerConfig, given: BrokerParts): Promise<Broker> {
  const { clock = Date.now, log = createLog(), signer, mesh, signal, duty } = given;
  const parts = { ...given, log };
  // The process before this one has ended by now; the store takes its time to open, so that agents hardly notice.
  let startedAt = seconds(clock);
  const tokens = await readTokens(config, parts);
  const auditKey = await openAuditKey(
    config.auditKeyFile ?? join(config.dataDir, 'audit-key.pem'),
    config.publicUrl,
    config.auditKeyFile === undefined,
  );
  // What a broker that stands by would miss only when it is needed.
  readPair(config.tls);
  const shared = (): Shared => ({
    publicUrl: config.publicUrl,
    trustDomain: config.trustDomain,
    tokenAudience: config.tokenAudience,
    signingKeys: (JSON.parse(signer.jwks) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid),
    auditKeys: auditKey.verifiers.map(({ text }) => text),
  });

  const sinks = [
    fileSink(config.auditCheckpointFile ?? join(config.dataDir, 'audit-checkpoint'), auditKey.verifiers),
    ...(parts.checkpointSinks ?? []),
  ];
  const metrics = createMetrics();
  let waitsFor = 'the store is being opened';
  const standby = createStandbyApp({ metrics, reasons: () => [waitsFor, ...mesh.unready()] });
  const operator = await listenForOperators(standby, config.operator);
  const standBy = (why: string, detail: object) => {
    if (why !== waitsFor) log.info(detail, why);
    waitsFor = why;
  };
  try {
    let waited = false;
    const store = await openStore({
      ...{ dataDir: config.dataDir, databaseUrl: config.databaseUrl, signal },
      self: { instance: `${hostname()} process ${process.pid}`, shared: shared() },
      onWaiting: (active) => {
        waited = true;
        standBy(`standing by: ${nameOf(active)} is active`, { active: active?.instance, since: active?.since });
      },
      onFailure: (err) => {
        metrics.failure('store');
        standBy('standing by: the store does not answer', { err });
      },
    });
    // Until now the other one has accepted proofs.
    if (waited) startedAt = seconds(clock);
    try {
      const adopt = createAdoption({ store, key: auditKey, sinks, clock, random: given.random ?? randomBytes });
      const auditLog = await admitted(
        async () => {
          await adopt();
          return await admitLog(store.db, auditKey, sinks);
        },
        (err) => standBy('standing by: where the checkpoint of the audit log is kept does not answer', { err }),
        signal,
      );
      // The other one may have changed them meanwhile; the mesh must not be told of those of then.
      if (waited) signer.adopt(await signer.read());
      await resumeKept(parts, store);
      duty?.begin(store.holds);
      return await startActive(config, parts, {
        ...tokens,
        store,
        startedAt,
        auditLog,
        sinks,
        metrics,
        operator,
        shared,
      });
    } catch (thrown) {
      await store.close();
      throw thrown;
    }
  } catch (thrown) {
    await operator.stop(0);
    throw thrown;
  }
}

const ASK_AGAIN_MS = 2_000;

/** Without what was signed, nobody can say whether the log may go on: it is waited for. */
async function admitted(
  admit: () => Promise<AdmittedLog>,
  onUnavailable: (cause: unknown) => void,
  signal: AbortSignal | undefined,
): Promise<AdmittedLog> {
  for (;;) {
    try {
      return await admit();
    } catch (thrown) {
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'kubernetes_unavailable') throw thrown;
      onUnavailable(thrown);
      await pause(ASK_AGAIN_MS, undefined, { signal });
    }
  }
}

/** The file that was applied last is in force again, before anything is applied: the one on disk is older. */
async function resumeKept({ policy }: BrokerParts, store: Store): Promise<void> {
  const kept = policy && (await readVersion(store.db));
  if (kept) policy.mesh.resume(read(kept));
}

function nameOf(active: Holder | undefined): string {
  return active ? `the broker ${active.instance}` : 'another broker';
}

async function readTokens(config: BrokerConfig, { github }: BrokerParts) {
  const operatorToken = await readToken(config.operatorTokenFile, 'operators');
  const githubEventToken = await readToken(config.githubEventTokenFile, "GitHub's audit log");
  if (githubEventToken !== undefined && !github)
    throw new MeshpassError(
      'config_invalid',
      "GitHub's audit log is of use only where GitHub can be asked again: configure its App, or a token file.",
    );
  return { operatorToken, githubEventToken };
}

/** @param whose in words, for messages */
async function readToken(file: string | undefined, whose: string): Promise<string | undefined> {
  if (file === undefined) return undefined;
  let token: string;
  try {
    token = readPrivateFile(file).trim();
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('config_invalid', `The file with the token of ${whose} cannot be read.`, { cause });
  }
  if (token.length >= MIN_TOKEN) return token;
  throw new MeshpassError('config_invalid', `The token of ${whose} must have ${MIN_TOKEN} characters at least.`);
}
