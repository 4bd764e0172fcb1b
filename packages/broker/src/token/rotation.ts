/** Changes the key that signs tokens: by age, or when an operator asks. Each step is audited, then durable, then in force. */
import { MeshpassError } from '@meshpass/identity';
import { granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import { followFile } from './follow-file.ts';
import { asNext, type KeyRing, onlyKey, publicJwk, signWithNext } from './key-ring.ts';
import { nextStep, type Step } from './next-step.ts';
import type { RotationContext } from './rotation-context.ts';
import { recordKey } from './rotation-context.ts';
import { makeSigningKey, type RotatingSigner } from './signer.ts';

export interface KeyStatus {
  readonly kid: string;
  readonly part: 'signing' | 'next' | 'retired';
  /** Whether the mesh has it. */
  readonly in_mesh: boolean;
  /** Signs since then, RFC 3339; for the next key: from then on, absent where the mesh does not have it yet. */
  readonly signs_from?: string;
  /** Goes then, because its last token has expired; for the key that signs: is changed then by itself. */
  readonly until?: string;
}

export interface Rotation {
  /** Every published key, the one that signs first. */
  readonly status: () => readonly KeyStatus[];
  /**
   * Makes the next key, or leaves the one that is under way.
   * @returns its id, and whether it was made now
   * @throws MeshpassError `signing_key_fixed`, `config_invalid`
   */
  readonly rotate: (event: AuditEvent) => Promise<Outcome<{ readonly kid: string; readonly made: boolean }>>;
  /**
   * Signs with a new key at once and publishes no other: every token so far is worthless as soon as the mesh knows.
   * @throws MeshpassError as `rotate`
   */
  readonly revoke: (event: AuditEvent) => Promise<Outcome<{ readonly kid: string; readonly dropped: string[] }>>;
  /** Takes steps as they fall due. @returns stops, after the step that is under way */
  readonly start: () => () => Promise<void>;
}

const LOOK_MS = 1_000;
/** After a failure: store or disk do not come back within a second. */
const REST_MS = 10_000;

/** Makes ready: what the file does not say of its keys, it says from now on. */
export async function createRotation(context: RotationContext): Promise<Rotation> {
  const { signer, mesh, clock, audit } = context;
  // The broker before this one may have gone on after the file was first read.
  signer.adopt(await signer.read());
  if (!signer.fixed) await complete(context);
  mesh.tokenKeysChanged();
  let last: Promise<unknown> = Promise.resolve();
  const runExclusive = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act);
    last = mine.catch(() => undefined);
    return mine;
  };
  const adopt = async (ring: KeyRing): Promise<void> => {
    await signer.replace(ring);
    mesh.tokenKeysChanged();
  };
  /** After an operator's change was written: what the disk refuses is answered, and is no second decision. */
  const adopted = async <T>(event: AuditEvent, ring: KeyRing, value: T): Promise<Outcome<T>> => {
    try {
      await adopt(ring);
      return granted(event, value);
    } catch (thrown) {
      return refused(event, thrown);
    }
  };
  const adoptInMemory = (ring: KeyRing): void => {
    signer.adopt(ring);
    mesh.tokenKeysChanged();
  };
  const inMesh = (kid: string): boolean => mesh.tokenKeys().has(kid);

  const take = async (step: Step): Promise<void> => {
    const { ring } = signer;
    const now = seconds(clock);
    switch (step.do) {
      case 'make': {
        const key = asNext(await makeSigningKey(), now);
        await recordKey(context, 'The signing key has reached its age: the next one is published.', publicJwk(key));
        return adopt({ ...ring, next: key });
      }
      case 'note':
        // Decides nothing: it is written down so that a broker that is killed need not wait anew.
        return signer.replace({ ...ring, next: { ...ring.next!, publishedAt: now } });
      case 'sign': {
        const jwk = publicJwk(ring.next!);
        await recordKey(context, 'The next signing key signs from now on.', jwk, { retired: ring.signing.kid });
        return adopt(signWithNext(ring, now, context.tokenSeconds));
      }
      case 'drop': {
        const gone = ring.retired.filter(({ kid }) => step.kids.includes(kid));
        for (const key of gone)
          await recordKey(
            context,
            'The last token of a retired signing key has expired: it is dropped.',
            publicJwk(key),
          );
        return adopt({ ...ring, retired: ring.retired.filter((key) => !gone.includes(key)) });
      }
    }
  };

  return {
    status: () => describe(context, inMesh),
    rotate: (asked) =>
      runExclusive(async () => {
        const { next } = own(signer);
        if (next) {
          const reason = 'An operator requested a new signing key: a change is already in progress.';
          const written = await recordGrant(audit, { ...asked, target: next.kid, reason });
          return written.granted ? granted(written.event, { kid: next.kid, made: false }) : written;
        }
        const key = asNext(await makeSigningKey(), seconds(clock));
        const reason = 'An operator requested a new signing key: the next one is published.';
        const detail = { ...asked.detail, jwk: publicJwk(key) };
        const written = await recordGrant(audit, { ...asked, target: key.kid, reason, detail });
        if (!written.granted) return written;
        return await adopted(written.event, { ...own(signer), next: key }, { kid: key.kid, made: true });
      }),
    revoke: (asked) =>
      runExclusive(async () => {
        own(signer);
        const ring = onlyKey(await makeSigningKey(), seconds(clock), context.tokenSeconds);
        const { kid } = ring.signing;
        const dropped = describe(context, inMesh).map((key) => key.kid);
        const reason = 'An operator dropped every signing key: a new one signs at once.';
        const detail = { ...asked.detail, jwk: publicJwk(ring.signing), dropped };
        const written = await recordGrant(audit, { ...asked, target: kid, reason, detail });
        if (!written.granted) return written;
        return await adopted(written.event, ring, { kid, dropped });
      }),
    start: () => {
      let restUntil = 0;
      const follow = signer.fixed ? followFile(context, adoptInMemory, inMesh) : undefined;
      const timer = setInterval(() => {
        if (performance.now() < restUntil) return;
        const look = async (): Promise<void> => {
          const step = nextStep(signer.ring, context, inMesh, seconds(clock));
          if (step) await take(step);
        };
        runExclusive(follow ?? look).catch((thrown) => {
          restUntil = performance.now() + REST_MS;
          context.onFailure(thrown);
        });
      }, LOOK_MS);
      timer.unref();
      return async () => {
        clearInterval(timer);
        await last;
      };
    },
  };
}

function own(signer: RotatingSigner): KeyRing {
  if (!signer.fixed) return signer.ring;
  throw new MeshpassError(
    'signing_key_fixed',
    'The signing key comes from your file (--signing-key), which the broker does not write: change it there.',
  );
}

/** A file of an earlier version, or with keys that somebody put into it, does not say how long they are needed. */
async function complete({ signer, tokenSeconds, clock }: RotationContext): Promise<void> {
  const { ring } = signer;
  const longest = Math.max(ring.signing.tokenSeconds, tokenSeconds);
  const open = ring.retired.some(({ until }) => until === undefined);
  if (longest === ring.signing.tokenSeconds && !open) return;
  const until = seconds(clock) + longest;
  await signer.replace({
    ...ring,
    signing: { ...ring.signing, tokenSeconds: longest },
    retired: ring.retired.map((key) => ({ ...key, until: key.until ?? until })),
  });
}

function describe(context: RotationContext, inMesh: (kid: string) => boolean): readonly KeyStatus[] {
  const { signing, next, retired } = context.signer.ring;
  const { ageSeconds, waitSeconds, signer } = context;
  const byAge = !signer.fixed && ageSeconds > 0 && !next;
  return [
    {
      ...{ kid: signing.kid, part: 'signing', in_mesh: inMesh(signing.kid), signs_from: timestamp(signing.since) },
      ...(byAge && { until: timestamp(signing.since + ageSeconds) }),
    },
    ...(next
      ? [
          {
            ...{ kid: next.kid, part: 'next' as const, in_mesh: inMesh(next.kid) },
            ...(next.publishedAt !== undefined && { signs_from: timestamp(next.publishedAt + waitSeconds) }),
          },
        ]
      : []),
    ...retired.map(({ kid, until }) => ({
      ...{ kid, part: 'retired' as const, in_mesh: inMesh(kid) },
      ...(until !== undefined && { until: timestamp(until) }),
    })),
  ];
}
