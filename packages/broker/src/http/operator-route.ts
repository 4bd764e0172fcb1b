/**
 * A route of the operator listener: it says what it does (operator/actions.ts), and nobody gets to its handler whose role may not do
 * that. Where the parameters decide what it does, it says which actions these can be.
 */
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { type Outcome, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { type OperatorAction, termsOf } from '../operator/actions.ts';
import { mayDo, nameOf, type OperatorCaller } from '../operator/caller.ts';
import type { Operators } from './operators.ts';
import { type Call, type Route, route } from './route.ts';

/** A route that can be mounted at the operator listener. */
export interface MountedOperatorRoute extends Route {
  /** What it can do: never empty. */
  readonly does: readonly OperatorAction[];
  /**
   * Runs what a second person has confirmed, as who asked for it.
   * @throws MeshpassError `confirmation_void` where it means another action by now, or `operator_forbidden`
   */
  readonly confirmed: (call: ConfirmedCall) => Promise<Outcome<unknown>>;
}

/** What was asked for, with the request of the second person. */
export interface ConfirmedCall extends Omit<Call<OperatorCaller, unknown>, 'query' | 'params'> {
  readonly action: OperatorAction;
  /** Name of the second person. */
  readonly by: string;
}

export interface OperatorRoute<Body> extends Omit<Route<OperatorCaller, Body>, 'authentication' | 'handler'> {
  readonly does: OperatorAction | ByParameters<Body>;
}

/** One of several actions, by what is asked. */
export interface ByParameters<Body> {
  readonly among: readonly OperatorAction[];
  readonly of: (
    asked: Pick<Call<OperatorCaller, Body>, 'body' | 'query' | 'caller'>,
  ) => OperatorAction | Promise<OperatorAction>;
}

export type OperatorCall<Body> = Call<OperatorCaller, Body> & {
  /** Why, in the operator's words. */
  readonly because: string | undefined;
};

/** Words of an operator, for the audit log. */
export const Reason = z.string().min(1).max(200).refine(isPlainText);

/**
 * @param handler is called for whom the table of actions allows it; its event names person, role and the entry that gave it
 * @returns a route that refuses with what authentication refuses with, `operator_forbidden` and `operator_reason_required`
 */
export function operatorRoute<Body>(
  operators: Pick<Operators, 'authentication' | 'confirmations'>,
  { does, ...one }: OperatorRoute<Body>,
  handler: (call: OperatorCall<Body>) => Promise<Outcome<unknown>>,
): MountedOperatorRoute {
  const among = typeof does === 'string' ? [does] : does.among;
  const actionOf = (call: Call<OperatorCaller, Body>) => (typeof does === 'string' ? does : does.of(call));
  const mounted = route({
    ...one,
    authentication: operators.authentication,
    handler: async (call: Call<OperatorCaller, Body>) => {
      let event = call.event;
      try {
        const action = await actionOf(call);
        event = detailed(event, { does: action });
        event = { ...event, rule: mayDo(action, call.caller) };
        const because = reasonOf(call.body);
        if (because !== undefined) event = detailed(event, { because });
        if (termsOf(action).destructive && because === undefined) throw reasonRequired(action);
        const { confirmations } = operators;
        if (confirmations.needed(action)) {
          const order = { action, method: one.method, path: one.path, body: call.body, because };
          return await confirmations.ask(order, call.caller, event);
        }
        return await handler({ ...call, event, because });
      } catch (thrown) {
        return refused(event, thrown);
      }
    },
  });
  const confirmed = async ({ action, by, ...given }: ConfirmedCall) => {
    const parsed = one.schema?.safeParse(given.body);
    if (!parsed?.success) throw changed();
    const call = { ...given, body: parsed.data, query: {}, params: {} };
    if ((await actionOf(call)) !== action) throw changed();
    const { target, detail } = one.auditMembers?.(parsed.data) ?? {};
    const rule = mayDo(action, call.caller);
    const event = { ...detailed(call.event, { ...detail }), rule, target: target ?? call.event.target };
    return await handler({ ...call, event, because: `${reasonOf(call.body) ?? 'no reason'} (confirmed by ${by})` });
  };
  return { ...mounted, does: among, confirmed };
}

function changed(): MeshpassError {
  return new MeshpassError(
    'confirmation_void',
    'What was asked for means something else since the access file or the broker changed: ask for it again.',
  );
}

function detailed(event: AuditEvent, members: Readonly<Record<string, unknown>>): AuditEvent {
  return { ...event, detail: { ...event.detail, ...members } };
}

function reasonOf(body: unknown): string | undefined {
  const reason = (body as { reason?: unknown } | undefined)?.reason;
  return typeof reason === 'string' && reason.trim() !== '' ? reason : undefined;
}

function reasonRequired(action: OperatorAction): MeshpassError {
  return new MeshpassError('operator_reason_required', `${action} needs a reason, for the audit log: say --reason.`);
}

/** For `reason` of an event: `Mona (okta:00u1) asked for it: left the team.` */
export function askedBy(caller: OperatorCaller, because: string | undefined): string {
  return `${nameOf(caller)} asked for it${because === undefined ? '' : `: ${because}`}.`;
}
