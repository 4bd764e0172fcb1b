/**
 * What one operator has asked for and another has to confirm (`operators.secondPerson`). It is in the store alone, so that a broker that
 * takes over has it, and bound by a hash to the action and every parameter.
 */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { type Clock, type Random, seconds, timestamp, uuidv7 } from '../clock/clock.ts';
import type { Store } from '../store/open.ts';
import type { OperatorAction } from './actions.ts';
import { nameOf, type OperatorCaller } from './caller.ts';

/** Seconds after which nobody can confirm it. */
export const CONFIRMATION_LIFE = 15 * 60;
/** That wait for one person, and in all. */
export const MAX_CONFIRMATIONS_PER_PERSON = 3;
export const MAX_CONFIRMATIONS = 30;

export interface Order {
  readonly action: OperatorAction;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly because: string | undefined;
}

/** What waits, as others see it before they confirm. */
export interface Waiting {
  readonly id: string;
  readonly action: OperatorAction;
  readonly digest: string;
  readonly subject: string;
  readonly login: string;
  readonly reason: string | null;
  readonly target: string | null;
  readonly asked_at: string;
  readonly expires_at: string;
}

export interface WaitingOrder extends Waiting, Pick<Order, 'method' | 'path' | 'body'> {
  /** Of the session of who asked. */
  readonly sessionId: string;
}

export interface Confirmations {
  /** Whether the access file wants a second person for it. */
  readonly needed: (action: OperatorAction) => boolean;
  /**
   * Keeps it until another operator confirms it: the answer has status 202.
   * @returns refused with `operator_forbidden` where it is no person who asks, or `confirmations_too_many`
   */
  readonly ask: (order: Order, caller: OperatorCaller, event: AuditEvent) => Promise<Outcome<Response>>;
  readonly list: () => Promise<readonly Waiting[]>;
  /** @throws MeshpassError `confirmation_unknown` where it does not wait, or not any more */
  readonly find: (id: string) => Promise<WaitingOrder>;
  /** To be called before it runs: nobody can confirm it again, also where another broker takes over. */
  readonly take: (id: string, by: string, event: AuditEvent) => Promise<Outcome<void>>;
  /**
   * Nobody can confirm it from then on. Where somebody has confirmed it, it is refused with `confirmation_unknown`; where the store does
   * not take it (`store_unavailable`), it waits as before, and can be withdrawn again.
   */
  readonly withdraw: (id: string, event: AuditEvent) => Promise<Outcome<void>>;
}

export interface ConfirmationsContext {
  readonly store: Store;
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly access: () => Access;
}

export function createConfirmations({ store, audit, clock, random, access }: ConfirmationsContext): Confirmations {
  /** One after another, so that nobody gets past the bounds. */
  let asking: Promise<unknown> = Promise.resolve();
  /** Also those that were confirmed where the store did not take it: better lost than run twice. */
  const taken = new Set<string>();
  const waiting = async () => {
    const open = store.db
      .selectFrom('operator_confirmations')
      .select(['id', 'action', 'digest', 'subject', 'login', 'reason', 'target', 'asked_at', 'expires_at'])
      .where('closed_at', 'is', null)
      .where('expires_at', '>', new Date(seconds(clock) * 1000));
    return (await open.orderBy('asked_at').execute()).filter(({ id }) => !taken.has(id));
  };
  const keep = async (order: Order, caller: OperatorCaller, event: AuditEvent): Promise<Outcome<Response>> => {
    const others = await waiting();
    const own = others.filter(({ subject }) => subject === caller.subject);
    if (own.length >= MAX_CONFIRMATIONS_PER_PERSON || others.length >= MAX_CONFIRMATIONS)
      return refused(event, tooMany());
    const id = uuidv7(clock, random);
    const asked_at = timestamp(seconds(clock));
    const expires_at = timestamp(seconds(clock) + CONFIRMATION_LIFE);
    const { action, method, path, because } = order;
    const body = JSON.stringify(order.body);
    const digest = digestOf({ action, method, path }, body);
    const row = {
      ...{ id, action, method, path, body, digest, asked_at, expires_at, closed_at: null, confirmed_by: null },
      ...{ session_id: caller.sessionId ?? '', subject: caller.subject, login: caller.login },
      ...{ reason: because ?? null, target: event.target ?? null },
    };
    const reason = `${nameOf(caller)} asked for ${action}, which waits for a second person${because ? `: ${because}` : ''}.`;
    const detail = { ...event.detail, confirmation: id, digest };
    const asked: AuditEvent = { ...event, action: 'operator.ask', reason, detail };
    const written = await recordGrant(audit, asked, { confirmation: row });
    if (!written.granted) return written;
    const answer = { confirmation: { id, action, digest, expires_at } };
    return granted(asked, Response.json(answer, { status: 202, headers: { 'cache-control': 'no-store' } }));
  };
  /** @param confirmed_by null: it was withdrawn */
  const close = async (id: string, confirmed_by: string | null, event: AuditEvent): Promise<Outcome<void>> => {
    if (taken.has(id))
      return refused(
        event,
        new MeshpassError('confirmation_unknown', 'Somebody else has just confirmed or withdrawn this.'),
      );
    taken.add(id);
    const closed_at = timestamp(seconds(clock));
    return await recordGrant(audit, event, { confirmed: { id, closed_at, confirmed_by } });
  };
  return {
    needed: (action) => needsSecondPerson(action, access().operators?.secondPerson ?? []),
    ask: async (order, caller, event) => {
      if (caller.kind !== 'person') return refused(event, noPerson(order.action));
      const kept = asking.then(() => keep(order, caller, event));
      asking = kept.catch(() => {});
      return await kept;
    },
    list: async () => (await waiting()).map(described),
    find: async (id) => {
      const row = taken.has(id)
        ? undefined
        : await store.db
            .selectFrom('operator_confirmations')
            .selectAll()
            .where('id', '=', id)
            .where('closed_at', 'is', null)
            .where('expires_at', '>', new Date(seconds(clock) * 1000))
            .executeTakeFirst();
      if (!row)
        throw new MeshpassError(
          'confirmation_unknown',
          'Nothing waits under this id: it is done or withdrawn, or 15 minutes are over.',
        );
      const { method, path, session_id: sessionId } = row;
      const one = described(row);
      if (digestOf({ action: one.action, method, path }, row.body) !== row.digest)
        throw new MeshpassError(
          'confirmation_void',
          'What is in the store is not what was asked for: ask for it again.',
        );
      return { ...one, method, path, sessionId, body: JSON.parse(row.body) as unknown };
    },
    take: (id, by, event) => close(id, by, event),
    withdraw: async (id, event) => {
      const isTaken = taken.has(id);
      const done = await close(id, null, event);
      // Nothing has run. It waits still, or the store has its end after all: either way the store says so.
      if (!isTaken && !done.granted) taken.delete(id);
      return done;
    },
  };
}

/**
 * An action stands for its forms, too: `policy.apply` for `policy.apply-unknown`. Where any action needs a second person, so does a
 * file that changes `operators` or `trust`: it could take the list away, or make up the second person.
 */
export function needsSecondPerson(action: OperatorAction, listed: readonly string[]): boolean {
  if (listed.length === 0) return false;
  return action.endsWith('-trust') || listed.some((one) => action === one || action.startsWith(`${one}-`));
}

function digestOf({ action, method, path }: Pick<Order, 'action' | 'method' | 'path'>, body: string): string {
  return sha256Hex(`${action}\n${method} ${path}\n${body}`);
}

function described(
  row: {
    readonly [K in Exclude<keyof Waiting, 'asked_at' | 'expires_at' | 'action'>]: Waiting[K];
  } & { readonly action: string; readonly asked_at: Date; readonly expires_at: Date },
): Waiting {
  const { id, action, digest, subject, login, reason, target, asked_at, expires_at } = row;
  return {
    ...{ id, action: action as OperatorAction, digest, subject, login, reason, target },
    ...{ asked_at: asked_at.toISOString(), expires_at: expires_at.toISOString() },
  };
}

function noPerson(action: OperatorAction): MeshpassError {
  return new MeshpassError(
    'operator_forbidden',
    `${action} needs two people ("operators.secondPerson"), and neither a ServiceAccount nor the break-glass token is one: sign in as an operator.`,
  );
}

function tooMany(): MeshpassError {
  return new MeshpassError(
    'confirmations_too_many',
    `At most ${MAX_CONFIRMATIONS_PER_PERSON} actions of a person wait for a second one, and ${MAX_CONFIRMATIONS} in all: have one confirmed, or wait.`,
    { retryAfter: CONFIRMATION_LIFE },
  );
}
