/**
 * Routes of the operator listener. Each declares its action (admin/operator/actions.ts), or all possible actions if the
 * action depends on parameters. Only operators whose role permits the action reach the handler.
 */
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { type AuditEvent, type Outcome, refused } from '../../audit/index.ts';
import { type Call, type Route, route } from '../../http/index.ts';
import { type OperatorAction, termsOf } from './actions.ts';
import { mayDo, nameOf, type OperatorCaller } from './caller.ts';
import type { Operators } from './operators.ts';

/** A route that can be mounted on the operator listener. */
export interface MountedOperatorRoute extends Route {
  /** Possible actions; never empty. */
  readonly does: readonly OperatorAction[];
}

/** Definition of a route with its action. */
export interface OperatorRoute<Body> extends Omit<Route<OperatorCaller, Body>, 'authentication' | 'handler'> {
  readonly does: OperatorAction | ByParameters<Body>;
}

/** Selects one of several actions based on the parameters. */
export interface ByParameters<Body> {
  readonly among: readonly OperatorAction[];
  readonly of: (asked: Pick<Call<OperatorCaller, Body>, 'body'>) => OperatorAction;
}

/** An operator's authorized call. */
export type OperatorCall<Body> = Call<OperatorCaller, Body> & {
  /** Reason, in the operator's words. */
  readonly because: string | undefined;
};

/** An operator's text for the audit log. */
export const Reason = z.string().min(1).max(200).refine(isPlainText);

/**
 * Creates a route that refuses with the errors of its authentication, `operator_forbidden` and
 * `operator_reason_required`.
 * @param handler called for operators whose role permits the action; its event includes the person, the role and the
 *   entry that assigned the role
 */
export function operatorRoute<Body>(
  operators: Pick<Operators, 'authentication'>,
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
        const action = actionOf(call);
        event = detailed(event, { does: action });
        event = { ...event, rule: mayDo(action, call.caller) };
        const because = reasonOf(call.body);
        if (because !== undefined) event = detailed(event, { because });
        if (termsOf(action).destructive && because === undefined) throw reasonRequired(action);
        return await handler({ ...call, event, because });
      } catch (thrown) {
        return refused(event, thrown);
      }
    },
  });
  return { ...mounted, does: among };
}

function detailed(event: AuditEvent, members: Readonly<Record<string, unknown>>): AuditEvent {
  return { ...event, detail: { ...event.detail, ...members } };
}

function reasonOf(body: unknown): string | undefined {
  const reason = (body as { reason?: unknown } | undefined)?.reason;
  return typeof reason === 'string' && reason.trim() !== '' ? reason : undefined;
}

function reasonRequired(action: OperatorAction): MeshpassError {
  return new MeshpassError('operator_reason_required', `${action} requires a reason for the audit log: add --reason.`);
}

/** Builds `reason` of an audit event, such as `Mona (okta:00u1) requested it: left the team.` */
export function askedBy(caller: OperatorCaller, because: string | undefined): string {
  return `${nameOf(caller)} requested it${because === undefined ? '' : `: ${because}`}.`;
}
