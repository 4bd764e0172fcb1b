/** What waits for a second person, their confirmation, and its withdrawal. docs/install/operators.md is their prose. */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { identitiesOf, refuseOwn } from '../../approval/people.ts';
import { granted, type Outcome, refused } from '../../audit/log/decision.ts';
import { type AuditEvent, newEvent } from '../../audit/log/event.ts';
import { seconds } from '../../clock/clock.ts';
import { mayDo, nameOf, type OperatorCaller } from '../../operator/caller.ts';
import type { WaitingOrder } from '../../operator/confirmations.ts';
import { callerOf, isUnconfirmed } from '../../operator/sessions.ts';
import { type MountedOperatorRoute, type OperatorCall, operatorRoute, Reason } from '../operator-route.ts';
import type { OperatorsContext } from './operators.ts';

export const ConfirmationsQuery = z.strictObject({ id: z.string().max(64).optional() });
export const ConfirmOrder = z.strictObject({
  id: z.string().min(1).max(64),
  /** Of what the second person has seen. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
type ConfirmOrder = z.infer<typeof ConfirmOrder>;
export const WithdrawOrder = z.strictObject({ id: z.string().min(1).max(64), reason: Reason.optional() });
type WithdrawOrder = z.infer<typeof WithdrawOrder>;

/**
 * `GET /operator/confirmations`, `POST /operator/confirmations/confirm` and `/operator/confirmations/withdraw`.
 * @param routes those whose actions can wait
 */
export function confirmationRoutes(
  context: OperatorsContext,
  routes: readonly MountedOperatorRoute[],
): readonly MountedOperatorRoute[] {
  const { operators } = context;
  const { confirmations } = operators;
  return [
    operatorRoute(
      operators,
      {
        does: {
          among: ['operators.confirmations', 'operators.confirmation'],
          of: ({ query }) => (query.id === undefined ? 'operators.confirmations' : 'operators.confirmation'),
        },
        ...{ method: 'GET', path: '/operator/confirmations', action: 'operator.list' },
      },
      async ({ event, query }) => {
        const asked = ConfirmationsQuery.safeParse(query);
        if (!asked.success)
          return refused(
            event,
            new MeshpassError('request_malformed', 'The only parameter is id, and it is optional.'),
          );
        if (asked.data.id === undefined) return granted(event, { confirmations: await confirmations.list() });
        const { method: _, path: __, sessionId: ___, body, ...one } = await confirmations.find(asked.data.id);
        return granted(event, { confirmations: [{ ...one, parameters: body }] });
      },
    ),
    operatorRoute(
      operators,
      {
        does: 'operators.confirm',
        ...{ method: 'POST', path: '/operator/confirmations/confirm', action: 'operator.confirm' },
        schema: ConfirmOrder,
        auditMembers: ({ id }) => ({ target: id }),
      },
      async (call) => await confirm(context, routes, call),
    ),
    operatorRoute(
      operators,
      {
        does: 'operators.withdraw',
        ...{ method: 'POST', path: '/operator/confirmations/withdraw', action: 'operator.withdraw' },
        schema: WithdrawOrder,
        auditMembers: ({ id }) => ({ target: id }),
      },
      async (call) => await withdraw(context, call),
    ),
  ];
}

async function confirm(
  context: OperatorsContext,
  routes: readonly MountedOperatorRoute[],
  call: OperatorCall<ConfirmOrder>,
): Promise<Outcome<unknown>> {
  const { caller, event, body } = call;
  const { confirmations } = context.operators;
  const order = await confirmations.find(body.id);
  if (order.digest !== body.digest)
    throw new MeshpassError('confirmation_void', 'The digest is of something else: look at what you confirm.');
  const asker = checked(context, order, caller);
  const route = routes.find(({ method, path }) => method === order.method && path === order.path);
  if (!route) throw new MeshpassError('confirmation_void', 'This broker has no such action: ask for it again.');
  const by = nameOf(caller);
  const reason = `${by} confirmed ${order.action}, for which ${nameOf(asker)} asked.`;
  const own = newEvent('operator.confirm', event, context.clock, context.random);
  const taken = await confirmations.take(order.id, by, { ...event, ...{ id: own.id, row: own.row, reason } });
  if (!taken.granted) return taken;
  const { subject, login, issuer } = asker;
  const asked: AuditEvent = {
    ...event,
    ...{ action: route.action, subject, login, issuer, target: order.target ?? undefined },
    detail: {
      ...{ does: order.action, because: order.reason, operator_session: asker.sessionId, confirmation: order.id },
      ...{ confirmed_by: by, confirmed_in: caller.sessionId, confirmed_as: event.rule, confirmed: own.id },
    },
  };
  try {
    return await route.confirmed({ ...call, caller: asker, body: order.body, event: asked, action: order.action, by });
  } catch (thrown) {
    return refused(asked, thrown);
  }
}

/** Takes back what one has asked for, or declines what another has. */
async function withdraw(
  { operators: { confirmations } }: OperatorsContext,
  { caller, event, body }: OperatorCall<WithdrawOrder>,
): Promise<Outcome<unknown>> {
  const { id, action, subject, login } = await confirmations.find(body.id);
  const own = caller.kind !== 'break-glass' && caller.subject === subject;
  // The break-glass token may: nothing runs because of it.
  if (!own && caller.kind !== 'break-glass') mayDo(action, caller);
  const asker = own ? 'they had asked' : `${nameOf({ kind: 'person', login, subject })} had asked`;
  const reason = `${nameOf(caller)} withdrew ${action}, for which ${asker}${body.reason ? `: ${body.reason}` : '.'}`;
  const done = await confirmations.withdraw(id, { ...event, reason, detail: { ...event.detail, withdrew: action } });
  return done.granted ? granted(done.event, { withdrawn: { id, action } }) : done;
}

/**
 * @returns who asked, with the roles that they have now
 * @throws MeshpassError `approval_own`, `approval_not_comparable`, `operator_forbidden`, `confirmation_void`,
 *   `confirmation_asker_unconfirmed`
 */
function checked(
  { sessions, access, clock }: OperatorsContext,
  order: WaitingOrder,
  caller: OperatorCaller,
): OperatorCaller {
  const session = sessions.byId(order.sessionId);
  if (!session?.attestation)
    throw new MeshpassError('confirmation_void', 'Who asked is not signed in any more: they have to ask again.');
  if (!caller.attestation)
    throw new MeshpassError('operator_forbidden', 'A ServiceAccount is no person: somebody has to sign in to confirm.');
  refuseOwn(identitiesOf(session.attestation), identitiesOf(caller.attestation));
  mayDo(order.action, caller);
  const asker = callerOf(session, access());
  try {
    mayDo(order.action, asker);
  } catch (cause) {
    throw new MeshpassError('confirmation_void', 'Who asked may not do this any more.', { cause });
  }
  // It waits still.
  if (isUnconfirmed(session, access(), seconds(clock)))
    throw new MeshpassError(
      'confirmation_asker_unconfirmed',
      `${session.issuer} has not confirmed ${nameOf(asker)} for a while: they run meshpass whoami, then confirm this again.`,
    );
  return asker;
}
