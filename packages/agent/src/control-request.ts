/**
 * Defines the requests on the control socket. The agent loads this schema with the first request, because the socket
 * opens before the rest of the agent is loaded.
 */
import { z } from 'zod';
import { type ApprovalsCommand, isApprovalsCommand } from './approvals/command.ts';

const text = z.string();

export const ControlRequest = z.discriminatedUnion('command', [
  z.object({ command: z.enum(['status', 'down']) }),
  /** If `container` is true, the variables are returned for a program in a container on the bridge network. */
  z.object({ command: z.literal('env'), container: z.boolean().optional() }),
  z.object({ command: z.literal('token'), audience: text.min(1) }),
  /** Requests a token for the Kubernetes API server. `grant` defaults to the first grant that has roles. */
  z.object({ command: z.literal('kubernetes'), grant: text.optional() }),
  /**
   * For `sign-in`, the `issuer` defaults to the issuer that the session's grants still require. For `sign-out`, it
   * defaults to all issuers.
   */
  z.object({ command: z.enum(['sign-in', 'sign-out']), issuer: text.optional() }),
  /** Waits for a previously started sign-in to complete or fail. */
  z.object({ command: z.literal('sign-in-result'), issuer: text }),
  /** Lists the grants that the session would gain if the developer also signed in at another issuer. */
  z.object({ command: z.literal('sign-in-lacking') }),
  z.object({
    command: z.literal('explain'),
    call: z.object({ host: text, port: z.number(), method: text, path: text, headers: z.record(text, text) }),
  }),
  z.object({ command: z.literal('approvals'), approvals: z.custom<ApprovalsCommand>(isApprovalsCommand) }),
]);
export type ControlRequest = z.infer<typeof ControlRequest>;
