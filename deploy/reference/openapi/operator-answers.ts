/** Answers about operators themselves. */
import { z } from 'zod';

const time = z.iso.datetime({ offset: true });

const Operator = z.strictObject({
  kind: z.enum(['person', 'service-account', 'break-glass']),
  issuer: z.string(),
  subject: z.string(),
  login: z.string(),
  roles: z.array(z.strictObject({ role: z.string(), place: z.string().describe('Of the entry that gives it') })),
});

export const SignIns = z.strictObject({
  broker: z.url().describe('Base of DPoP `htu` on this listener'),
  issuers: z.array(
    z.strictObject({
      name: z.string(),
      issuer: z.url(),
      client: z.string(),
      scopes: z.array(z.string()),
      refresh: z
        .boolean()
        .describe('Whether the command requests a refresh token (`offline_access`), to confirm the sign-in'),
      consent: z.boolean().describe('Whether it requests that token with `prompt=consent`'),
    }),
  ),
});

export const SignInForm = z.object({
  grant_type: z.literal('urn:ietf:params:oauth:grant-type:token-exchange'),
  subject_token: z.string(),
  subject_token_type: z.enum(['urn:ietf:params:oauth:token-type:id_token', 'urn:ietf:params:oauth:token-type:jwt']),
});

/** Seconds from now on. */
const times = {
  expires_in: z.number().int(),
  confirm_in: z
    .number()
    .int()
    .describe('Until the sign-in must have been confirmed (`POST /operator/session/confirm`)'),
};

export const OperatorSession = z.strictObject({
  access_token: z.string(),
  issued_token_type: z.literal('urn:meshpass:token-type:operator-session'),
  token_type: z.literal('DPoP'),
  ...times,
  broker: z.url(),
  operator: Operator,
});

export const ConfirmedSignIn = z.strictObject({ access_token: z.string(), operator: Operator, ...times });

export const WhoAmI = z.strictObject({
  operator: Operator,
  expires_at: time.nullable(),
  confirmed_until: time.nullable().describe('`operator_unconfirmed` from then on, unless it is confirmed before'),
  actions: z.array(z.string()),
});

export const RolesOfActions = z.strictObject({
  actions: z.array(z.strictObject({ action: z.string(), roles: z.array(z.string()) })),
});

export const OperatorSessions = z.strictObject({
  sessions: z.array(
    Operator.extend({
      id: z.string(),
      source: z.string().nullable(),
      opened_at: time,
      expires_at: time,
      confirmed_at: time,
    }),
  ),
});

export const ClosedOperators = z.strictObject({ closed: z.array(z.string()) });

export const AppliedFiles = z.strictObject({ main: z.string(), files: z.record(z.string(), z.string()) });

export const Restores = z.strictObject({
  restores: z.array(z.strictObject({ epoch: z.number().int(), note: z.string(), time })),
});
