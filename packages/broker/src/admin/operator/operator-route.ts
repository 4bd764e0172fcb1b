/**
 * Routes of the operator listener. Each declares its action (admin/operator/actions.ts), which may depend on the
 * parameters. Only operators whose role permits the action reach the handler.
 */
import { MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { type Call, type Route, route } from '../../http/index.ts';
import { actionRequirements, type OperatorAction } from './actions.ts';
import { authorizeAction, nameOf, type OperatorCaller } from './caller.ts';
import type { OperatorAuthentication } from './operators.ts';

/** Definition of a route with its action, which may depend on the parameters. */
export interface OperatorRoute<Body> extends Omit<Route<OperatorCaller, Body>, 'at' | 'authentication' | 'handler'> {
  readonly does: OperatorAction | ((body: Body) => OperatorAction);
}

/** Route that checks its action. Only `operatorRoutes` creates one. */
export interface AuthorizedRoute extends Route {
  readonly does: OperatorRoute<never>['does'];
}

/** An operator's authorized call. */
export type OperatorCall<Body> = Call<OperatorCaller, Body> & {
  /** Reason, in the operator's words. */
  readonly because: string | undefined;
};

/** An operator's text for the audit log. */
export const Reason = z.string().min(1).max(200).refine(isPlainText);

/**
 * Returns a function that creates routes for operators. The routes refuse with the errors of their authentication,
 * `operator_forbidden` and `operator_reason_required`. The handler is only called for operators whose role permits the
 * action. Its event includes the person, the role and the entry that assigned the role.
 */
export function operatorRoutes(authentication: OperatorAuthentication) {
  return <Body>(
    at: Route['at'],
    one: OperatorRoute<Body>,
    handler: (call: OperatorCall<Body>) => Promise<unknown>,
  ): AuthorizedRoute => {
    const { does } = one;
    const evenUnconfirmed = typeof does === 'string' && actionRequirements(does).evenUnconfirmed === true;
    const mounted = route({
      ...one,
      at,
      // Before the body is read.
      authentication: authentication(evenUnconfirmed),
      handler: async (call: Call<OperatorCaller, Body>) => {
        const { event } = call;
        const action = typeof does === 'string' ? does : does(call.body);
        annotateEvent(event, { detail: { does: action } });
        annotateEvent(event, { rule: authorizeAction(action, call.caller) });
        const because = reasonOf(call.body);
        if (because !== undefined) annotateEvent(event, { detail: { because } });
        if (actionRequirements(action).destructive && because === undefined) throw reasonRequired(action);
        return await handler({ ...call, because });
      },
    });
    return { ...mounted, does };
  };
}

function reasonOf(body: unknown): string | undefined {
  const reason = (body as { reason?: unknown } | undefined)?.reason;
  return typeof reason === 'string' && reason.trim() !== '' ? reason : undefined;
}

function reasonRequired(action: OperatorAction): MeshpassError {
  return new MeshpassError('operator_reason_required', `${action} requires a reason for the audit log: add --reason.`);
}

/** Builds the `reason` of an audit event, such as `Mona (okta:00u1) requested it: left the team.` */
export function formatOperatorReason(caller: OperatorCaller, because: string | undefined): string {
  return `${nameOf(caller)} requested it${because === undefined ? '' : `: ${because}`}.`;
}
