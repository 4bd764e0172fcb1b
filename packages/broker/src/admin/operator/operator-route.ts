/**
 * Defines the routes of the operator listener. Every route declares its action (admin/operator/actions.ts), which may
 * depend on the parameters, and its handler is called only if the operator's role permits that action.
 */
import { isPlainText, MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { type Call, type Route, route } from '../../http/index.ts';
import { actionRequirements, type OperatorAction } from './actions.ts';
import { authorizeAction, nameOf, type OperatorCaller } from './caller.ts';
import type { OperatorAuthentication } from './operators.ts';

/** The definition of a route, including its action, which may depend on the parameters. */
export interface OperatorRoute<Body> extends Omit<Route<OperatorCaller, Body>, 'at' | 'authentication' | 'handler'> {
  readonly does: OperatorAction | ((body: Body) => OperatorAction);
}

/** A route that authorizes its action. Such routes are only created by `operatorRoutes`. */
export interface AuthorizedRoute extends Route {
  readonly does: OperatorRoute<never>['does'];
}

/** An authorized call from an operator. */
export type OperatorCall<Body> = Call<OperatorCaller, Body> & {
  /** The operator's reason for the action. */
  readonly because: string | undefined;
};

/** A reason for the audit log, in the operator's own words. */
export const Reason = z.string().min(1).max(200).refine(isPlainText);

/**
 * Returns a function that creates routes for operators. A route refuses calls with the errors of its authentication,
 * `operator_forbidden` or `operator_reason_required`, and only calls its handler if the operator's role permits the
 * action. The event passed to the handler already includes the operator, their role and the access file entry that
 * assigned it.
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
      // Authenticate the caller before the body is read.
      authentication: authentication(evenUnconfirmed),
      handler: async (call: Call<OperatorCaller, Body>) => {
        const { event } = call;
        const action = typeof does === 'string' ? does : does(call.body);
        annotateEvent(event, { detail: { does: action } });
        annotateEvent(event, { rule: authorizeAction(action, call.caller) });
        const because = reasonOf(call.body);
        if (because !== undefined) annotateEvent(event, { detail: { because } });
        if (actionRequirements(action).destructive && because === undefined)
          throw new MeshpassError(
            'operator_reason_required',
            `${action} requires a reason for the audit log: add --reason.`,
          );
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

/** Formats the `reason` of an audit event, such as `Mona (okta:00u1) requested it: left the team.` */
export function formatOperatorReason(caller: OperatorCaller, because: string | undefined): string {
  return `${nameOf(caller)} requested it${because === undefined ? '' : `: ${because}`}.`;
}
