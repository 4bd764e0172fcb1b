/**
 * Rotates the signing key by age or at an operator's request. Each change is first audited, then stored, then
 * activated.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  type AuditEvent,
  auditRow,
  createAuditEvent,
  grantedOutcome,
  type Journal,
  type Outcome,
  recordGrant,
  refusedOutcome,
} from '../../audit/index.ts';
import { type KeyedMutex, runExclusive, timestamp, toUnixSeconds } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import { leadershipUnknownError } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import { publicJwk, type StoredKeys, signWithNext, signWithNextOnly, toNextKey } from './key-ring.ts';
import { isRotationDue, nextRotationStep, type RotationRules, type Step } from './next-step.ts';
import { generateSigningKey, type RotatingSigner } from './signer.ts';

/** State of a published key for operators. */
export interface KeyStatus {
  readonly kid: string;
  readonly part: 'signing' | 'next' | 'retired';
  /** Whether the mesh has the key. */
  readonly in_mesh: boolean;
  /**
   * When the key starts to sign, RFC 3339. Absent for the next key unless a rotation is pending and the mesh has the
   * key.
   */
  readonly signs_from?: string;
  /**
   * For a retired key, the expiry of its last token, when it is dropped; for the signing key, its scheduled rotation.
   * RFC 3339.
   */
  readonly until?: string;
}

/** Rotates the signing key. */
export type KeyRotation = ReturnType<typeof createKeyRotation>;

const LOOK_MS = 1_000;
/**
 * Time for agents to renew their tokens before sidecars refuse tokens signed by a stolen key, ms. An agent renews a
 * lease at most once a second.
 */
const AGENTS_FIRST_MS = 2_000;
/** Pause after a failure, ms. A store, disk or Kubernetes outage does not end within a second. */
const REST_MS = 10_000;
/** How long a stopping broker waits for sidecars to find out about dropped keys, ms. Kubernetes may be unavailable. */
const STOP_PATIENCE_MS = 3_000;
const STOP_LOOK_MS = 50;

/**
 * Claims the stored keys when this broker becomes active. It stores them again as a whole, so that no write by the
 * previous broker can follow. Leadership is checked after reading: a broker that becomes active later also writes
 * later, and the storage then rejects this write, because the version read is no longer stored.
 * @param context `isLeader` returns whether this process is known to be the active broker at this instant
 * @throws MeshpassError from the storage; `store_unavailable` if this broker is not active
 */
export async function claimKeys({
  signer,
  tokenSeconds,
  isLeader,
}: Pick<RotationContext, 'signer' | 'tokenSeconds' | 'isLeader'>): Promise<void> {
  // Also checked before reading, so that an unresponsive storage cannot delay a former leader.
  if (!isLeader()) throw leadershipUnknownError();
  const keys = await signer.read();
  if (!isLeader()) throw leadershipUnknownError();
  const longest = Math.max(keys.signing.tokenSeconds, tokenSeconds);
  await signer.replace({ ...keys, next: signer.ring.next, signing: { ...keys.signing, tokenSeconds: longest } });
}

/**
 * Creates the rotation.
 * @param context its signer has the keys that claimKeys() activated
 */
export function createKeyRotation(context: RotationContext) {
  const { signer, mesh, clock, audit, tokenSeconds } = context;
  mesh.tokenKeysChanged();
  const mutex: KeyedMutex = new Map();
  let agentsFirst: NodeJS.Timeout | undefined;
  const exclusively = <T>(act: () => Promise<T>): Promise<T> => runExclusive(mutex, 'keys', act);
  const adopt = async (keys: StoredKeys, next = signer.ring.next): Promise<void> => {
    await signer.replace({ ...keys, next });
    mesh.tokenKeysChanged();
  };
  /**
   * Applies an operator's recorded change. A storage failure is recorded as a separate decision, so that the grant is
   * not the last entry in the log.
   */
  const adopted = async <T>(event: AuditEvent, adopting: Promise<void>, value: T): Promise<Outcome<T>> => {
    try {
      await adopting;
      return grantedOutcome(event, value);
    } catch (thrown) {
      return refusedOutcome({ ...event, ...createAuditEvent(event.action, event, clock, context.random) }, thrown);
    }
  };
  const inMesh = (kid: string): boolean => mesh.tokenKeys().has(kid);

  const take = async (step: Step): Promise<void> => {
    const { ring } = signer;
    const now = toUnixSeconds(clock);
    switch (step.do) {
      case 'note':
        return signer.adopt({ ...ring, next: { ...ring.next, publishedAt: now } });
      case 'sign': {
        const next = toNextKey(await generateSigningKey());
        const { kid } = ring.signing;
        await recordKey(context, 'The broker now signs with the next key.', publicJwk(ring.next), { retired: kid });
        return adopt(signWithNext(ring, now, tokenSeconds), next);
      }
      case 'drop': {
        const gone = ring.retired.filter(({ kid }) => step.kids.includes(kid));
        for (const key of gone)
          await recordKey(
            context,
            'The last token of a retired signing key has expired, so the key was dropped.',
            publicJwk(key),
          );
        return adopt({ ...ring, retired: ring.retired.filter((key) => !gone.includes(key)) });
      }
    }
  };

  const look = async (): Promise<void> => {
    const step = nextRotationStep(signer.ring, context, inMesh, toUnixSeconds(clock));
    if (step) await take(step);
  };

  /**
   * Notifies sidecars of dropped keys without waiting for agents. After the stop, no broker would do so until another
   * one starts.
   */
  const tellMesh = async (): Promise<void> => {
    const until = performance.now() + STOP_PATIENCE_MS;
    const isOld = () => [...mesh.tokenKeys()].some((kid) => !signer.knows(kid));
    if (isOld()) mesh.tokenKeysChanged();
    // An inactive broker writes nothing; its successor notifies the mesh.
    while (isOld() && context.isLeader() && performance.now() < until) await pause(STOP_LOOK_MS);
  };

  return {
    /** Returns all published keys, beginning with the signing key. */
    status: () => describe(context, inMesh),
    /**
     * Requests that the next key sign as soon as verifiers have had it for long enough. Does nothing if a rotation is
     * pending.
     * @returns id of the next key, and whether this call started the rotation
     * @throws MeshpassError `config_invalid`, `kubernetes_unavailable`
     */
    rotate: (asked: AuditEvent) =>
      exclusively(async () => {
        const { ring } = signer;
        const { kid } = ring.next;
        if (ring.requestedAt !== undefined) {
          const reason = 'An operator requested a new signing key, but a rotation is already in progress.';
          const written = await recordGrant(audit, { ...asked, target: kid, reason });
          return written.granted ? grantedOutcome(written.event, { kid, made: false }) : written;
        }
        const reason =
          'An operator requested a new signing key. The broker switches to it once verifiers have had time to fetch it.';
        const detail = { ...asked.detail, jwk: publicJwk(ring.next) };
        const written = await recordGrant(audit, { ...asked, target: kid, reason, detail });
        if (!written.granted) return written;
        const adopting = adopt({ ...ring, requestedAt: toUnixSeconds(clock) });
        const requested = await adopted(written.event, adopting, { kid, made: true });
        // The request is stored, so the periodic step retries after any failure from here on.
        if (requested.granted) await look().catch(context.onFailure);
        return requested;
      }),
    /**
     * Signs with the next key at once and drops all keys that have signed. All previous tokens are invalid as soon as the
     * mesh has the change.
     * @throws MeshpassError as `rotate`
     */
    revoke: (asked: AuditEvent) =>
      exclusively(async () => {
        const { ring } = signer;
        const next = toNextKey(await generateSigningKey());
        const { kid } = ring.next;
        const dropped = [ring.signing, ...ring.retired].map((key) => key.kid);
        const reason = 'An operator dropped every key that has been used to sign. The next key takes over immediately.';
        const detail = { ...asked.detail, jwk: publicJwk(ring.next), dropped };
        const written = await recordGrant(audit, { ...asked, target: kid, reason, detail });
        if (!written.granted) return written;
        const keys = signWithNextOnly(ring, toUnixSeconds(clock), tokenSeconds);
        const done = await adopted(written.event, signer.replace({ ...keys, next }), { kid, dropped });
        if (!done.granted) return done;
        // Sidecars accept tokens signed by both keys until they are notified, so agents renew their tokens first.
        context.renewLeases();
        agentsFirst = setTimeout(mesh.tokenKeysChanged, AGENTS_FIRST_MS).unref();
        return done;
      }),
    /**
     * Starts to take steps when they are due.
     * @returns a function that stops after the current step, once sidecars have been notified of dropped keys
     */
    start: () => {
      let restUntil = 0;
      const timer = setInterval(() => {
        if (performance.now() < restUntil) return;
        exclusively(look).catch((thrown) => {
          restUntil = performance.now() + REST_MS;
          context.onFailure(thrown);
        });
      }, LOOK_MS);
      timer.unref();
      return async () => {
        clearInterval(timer);
        await mutex.get('keys')?.catch(() => undefined);
        clearTimeout(agentsFirst);
        await tellMesh();
      };
    },
  };
}

function describe(context: RotationContext, inMesh: (kid: string) => boolean): readonly KeyStatus[] {
  const { ageSeconds, waitSeconds, signer } = context;
  const { signing, next, retired } = signer.ring;
  const due = isRotationDue(signer.ring, context, toUnixSeconds(context.clock));
  return [
    {
      kid: signing.kid,
      part: 'signing',
      in_mesh: inMesh(signing.kid),
      signs_from: timestamp(signing.since),
      ...(ageSeconds > 0 && !due && { until: timestamp(signing.since + ageSeconds) }),
    },
    {
      kid: next.kid,
      part: 'next' as const,
      in_mesh: inMesh(next.kid),
      ...(due && next.publishedAt !== undefined && { signs_from: timestamp(next.publishedAt + waitSeconds) }),
    },
    ...retired.map(({ kid, until }) => ({
      kid,
      part: 'retired' as const,
      in_mesh: inMesh(kid),
      until: timestamp(until),
    })),
  ];
}

// Dependencies of a key rotation, and its record in the audit log.

/** Dependencies of a key rotation. */
interface RotationContext
  extends RotationRules,
    Pick<SessionContext, 'audit' | 'tokenSeconds' | 'clock' | 'random' | 'onFailure'> {
  readonly journal: Pick<Journal, 'transaction'>;
  readonly signer: RotatingSigner;
  readonly mesh: Pick<MeshState, 'tokenKeys' | 'tokenKeysChanged'>;
  /** Whether this process is known to be the active broker at this instant. */
  readonly isLeader: () => boolean;
  /** Makes all agents renew their leases at once, so that they find out which keys are dropped. */
  readonly renewLeases: () => void;
}

/**
 * Records a key change in the audit log, with the complete public key, so that signatures by the key can always be
 * verified.
 * @throws MeshpassError `store_unavailable`: a change must not happen unrecorded
 */
async function recordKey(
  { journal, clock, random }: Pick<RotationContext, 'journal' | 'clock' | 'random'>,
  reason: string,
  jwk: ReturnType<typeof publicJwk>,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const event = { ...createAuditEvent('key.rotate', {}, clock, random), target: jwk.kid, detail: { jwk, ...more } };
  const row = auditRow(event, 'allowed', reason, undefined, clock());
  await journal.transaction((tx) => tx.audit(row));
}
