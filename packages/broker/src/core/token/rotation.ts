/**
 * Rotates the signing key when it reaches its maximum age or when an operator requests it. The next key is not used for
 * signing until verifiers have had it for a while. The previous key stays published until the last of its tokens has
 * expired. Each step depends only on the key ring, so a broker that was restarted continues from the stored keys. Each
 * change is first audited, then stored, and then activated.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  type AuditEvent,
  annotateEvent,
  auditRow,
  createAuditEvent,
  type Journal,
  recordAllowed,
} from '../../audit/index.ts';
import { type KeyedMutex, runExclusive, timestamp, toUnixSeconds } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import { leadershipUnknownError } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import { type KeyRing, publicJwk, type StoredKeys, signWithNext, signWithNextOnly, toNextKey } from './key-ring.ts';
import { generateSigningKey, type RotatingSigner } from './signer.ts';

/** The timing of key rotations. */
interface RotationRules {
  /** How long a key may be used for signing, in seconds. If 0, keys are rotated only when an operator requests it. */
  readonly ageSeconds: number;
  /** How long the mesh must have had a key before it may be used for signing, in seconds. */
  readonly waitSeconds: number;
}

/** A step of a key rotation. */
type Step =
  /** Record that the mesh has the next key. */
  | { readonly do: 'note'; readonly kid: string }
  /** Start signing with the next key, and retire the current one. */
  | { readonly do: 'sign'; readonly kid: string }
  /** Stop publishing these keys. */
  | { readonly do: 'drop'; readonly kids: readonly string[] };

/** The status of a published key, as shown to operators. */
export interface KeyStatus {
  readonly kid: string;
  readonly part: 'signing' | 'next' | 'retired';
  /** Whether the mesh has the key. */
  readonly in_mesh: boolean;
  /**
   * When the key became or will become the signing key, in RFC 3339 format. Absent for the next key, unless a rotation
   * is pending and the mesh has the key.
   */
  readonly signs_from?: string;
  /**
   * For the signing key, when its rotation is scheduled. For a retired key, when the last of its tokens expires and the
   * key is dropped. In RFC 3339 format.
   */
  readonly until?: string;
}

const LOOK_MS = 1_000;
/**
 * How long agents have to renew their tokens before sidecars start to reject tokens that were signed with a stolen key,
 * in milliseconds. Agents renew a lease at most once a second.
 */
const AGENTS_FIRST_MS = 2_000;
/**
 * How long to pause after a failure, in milliseconds. Outages of the store, a disk or Kubernetes rarely end within a
 * second.
 */
const REST_MS = 10_000;
/**
 * The maximum time that a stopping broker waits for sidecars to learn about dropped keys, in milliseconds. Kubernetes
 * may be down.
 */
const STOP_PATIENCE_MS = 3_000;
const STOP_LOOK_MS = 50;

/**
 * Claims the stored keys when this broker becomes active. It rewrites all of them, so that later writes by the previous
 * broker fail. Leadership is checked after the keys have been read. If another broker becomes active after that check,
 * it also writes after the check, and the storage then rejects this broker's write, because the version that this
 * broker read is outdated.
 * @param context `isLeader` returns whether this process is currently known to be the active broker
 * @throws MeshpassError `store_unavailable` if this broker is not active, and the errors of the storage
 */
export async function claimKeys({
  signer,
  tokenSeconds,
  isLeader,
}: Pick<RotationContext, 'signer' | 'tokenSeconds' | 'isLeader'>): Promise<void> {
  // Also check before reading, so that unresponsive storage cannot delay a former leader.
  if (!isLeader()) throw leadershipUnknownError();
  const keys = await signer.read();
  if (!isLeader()) throw leadershipUnknownError();
  const longest = Math.max(keys.signing.tokenSeconds, tokenSeconds);
  await signer.replace({ ...keys, next: signer.ring.next, signing: { ...keys.signing, tokenSeconds: longest } });
}

/**
 * Creates the key rotation.
 * @param context the signer must have the keys that were activated by claimKeys()
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
   * Applies a change that an operator requested and that the audit log already shows as granted. If the storage fails,
   * the failure is recorded as a separate decision, so that the log does not end with the grant.
   */
  const adopted = (event: AuditEvent, adopting: Promise<void>): Promise<void> =>
    adopting.catch((thrown: unknown) => {
      Object.assign(event, createAuditEvent(event.action, event, clock, context.random));
      throw thrown;
    });
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
   * Notifies sidecars of dropped keys without waiting for agents. Otherwise, sidecars would not be notified until
   * another broker starts.
   */
  const tellMesh = async (): Promise<void> => {
    const until = performance.now() + STOP_PATIENCE_MS;
    const isOld = () => [...mesh.tokenKeys()].some((kid) => !signer.knows(kid));
    if (isOld()) mesh.tokenKeysChanged();
    // A broker that is no longer active must not write. Its successor notifies the mesh instead.
    while (isOld() && context.isLeader() && performance.now() < until) await pause(STOP_LOOK_MS);
  };

  return {
    /** Returns the status of all published keys, starting with the signing key. */
    status: () => describe(context, inMesh),
    /**
     * Requests a rotation to the next key as soon as verifiers have had it for long enough. This has no effect if a
     * rotation is already pending.
     * @returns the id of the next key, and whether this call started the rotation
     * @throws MeshpassError `config_invalid`, `kubernetes_unavailable`
     */
    rotate: (event: AuditEvent) =>
      exclusively(async () => {
        const { ring } = signer;
        const { kid } = ring.next;
        const made = ring.requestedAt === undefined;
        const reason = made
          ? 'An operator requested a new signing key. The broker switches to it once verifiers have had time to fetch it.'
          : 'An operator requested a new signing key, but a rotation is already in progress.';
        annotateEvent(event, { target: kid, reason, ...(made && { detail: { jwk: publicJwk(ring.next) } }) });
        await recordAllowed(audit, event);
        if (!made) return { kid, made };
        await adopted(event, adopt({ ...ring, requestedAt: toUnixSeconds(clock) }));
        // The request has been stored, so if anything fails from here on, the periodic check retries it.
        await look().catch(context.onFailure);
        return { kid, made };
      }),
    /**
     * Switches to the next key immediately and drops all keys that have ever been used for signing. All previous tokens
     * become invalid as soon as the change reaches the mesh.
     * @throws MeshpassError the same errors as `rotate`
     */
    revoke: (event: AuditEvent) =>
      exclusively(async () => {
        const { ring } = signer;
        const next = toNextKey(await generateSigningKey());
        const { kid } = ring.next;
        const dropped = [ring.signing, ...ring.retired].map((key) => key.kid);
        const reason = 'An operator dropped every key that has been used to sign. The next key takes over immediately.';
        annotateEvent(event, { target: kid, reason, detail: { jwk: publicJwk(ring.next), dropped } });
        await recordAllowed(audit, event);
        const keys = signWithNextOnly(ring, toUnixSeconds(clock), tokenSeconds);
        await adopted(event, signer.replace({ ...keys, next }));
        // Sidecars accept tokens signed with either key until they are notified. Agents therefore renew their tokens
        // first.
        context.renewLeases();
        agentsFirst = setTimeout(mesh.tokenKeysChanged, AGENTS_FIRST_MS).unref();
        return { kid, dropped };
      }),
    /**
     * Starts performing rotation steps when they are due.
     * @returns a function that stops the rotation after the current step, and waits until sidecars have been notified
     *   of dropped keys
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

/**
 * Returns the step that is due.
 * @param inMesh returns whether sidecars have received the key with the given RFC 7638 thumbprint
 * @param now the current time, in Unix seconds
 * @returns undefined if no step is due
 */
export function nextRotationStep(
  ring: KeyRing,
  rules: RotationRules,
  inMesh: (kid: string) => boolean,
  now: number,
): Step | undefined {
  const { next, retired } = ring;
  const over = retired.filter(({ until }) => until <= now);
  if (over.length > 0) return { do: 'drop', kids: over.map(({ kid }) => kid) };
  if (!inMesh(next.kid)) return undefined;
  if (next.publishedAt === undefined) return { do: 'note', kid: next.kid };
  return isRotationDue(ring, rules, now) && now >= next.publishedAt + rules.waitSeconds
    ? { do: 'sign', kid: next.kid }
    : undefined;
}

/**
 * Whether the signing key is due for rotation. The rotation happens as soon as the next key may be used for signing.
 */
function isRotationDue({ signing, requestedAt }: KeyRing, { ageSeconds }: RotationRules, now: number): boolean {
  return requestedAt !== undefined || (ageSeconds > 0 && now >= signing.since + ageSeconds);
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

/** The dependencies of a key rotation. */
interface RotationContext extends RotationRules, Pick<SessionContext, 'audit' | 'clock' | 'random' | 'onFailure'> {
  /** The lifetime of identity tokens, in seconds. */
  readonly tokenSeconds: number;
  readonly journal: Pick<Journal, 'transaction'>;
  readonly signer: RotatingSigner;
  readonly mesh: Pick<MeshState, 'tokenKeys' | 'tokenKeysChanged'>;
  /** Returns whether this process is currently known to be the active broker. */
  readonly isLeader: () => boolean;
  /** Makes all agents renew their leases immediately, so that they learn which keys were dropped. */
  readonly renewLeases: () => void;
}

/**
 * Records a key change in the audit log. The entry contains the complete public key, so that signatures made with the
 * key can still be verified later.
 * @throws MeshpassError `store_unavailable`. In this case, the key must not be changed.
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
