/**
 * Requests on the control socket. The agent loads this schema with the first request, because the socket opens before
 * the rest of the agent is loaded.
 */
import { z } from 'zod';
import { type ApprovalsCommand, isApprovalsCommand } from './approvals/command.ts';

const text = z.string();

export const ControlRequest = z.discriminatedUnion('command', [
  z.object({ command: z.enum(['status', 'down']) }),
  /** `container` requests the variables for a program in a bridged container. */
  z.object({ command: z.literal('env'), container: z.boolean().optional() }),
  z.object({ command: z.literal('token'), audience: text.min(1) }),
  /** Requests a token for the Kubernetes API server. Defaults to the first grant with roles. */
  z.object({ command: z.literal('kubernetes'), grant: text.optional() }),
  /**
   * For `sign-in`, `issuer` defaults to the issuer that the session's grants still require. For `sign-out`, it defaults
   * to all issuers.
   */
  z.object({ command: z.enum(['sign-in', 'sign-out']), issuer: text.optional() }),
  /** Waits until a sign-in that was started earlier has ended. */
  z.object({ command: z.literal('sign-in-result'), issuer: text }),
  /** Lists the grants that the session would gain with an additional sign-in. */
  z.object({ command: z.literal('sign-in-lacking') }),
  z.object({
    command: z.literal('explain'),
    call: z.object({ host: text, port: z.number(), method: text, path: text, headers: z.record(text, text) }),
  }),
  z.object({ command: z.literal('approvals'), approvals: z.custom<ApprovalsCommand>(isApprovalsCommand) }),
]);
export type ControlRequest = z.infer<typeof ControlRequest>;
