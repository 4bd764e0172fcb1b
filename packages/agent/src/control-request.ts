/**
 * Defines the requests on the control socket. The agent loads this schema with the first request, because the socket
 * opens before the rest of the agent is loaded.
 */
import type {
  ApprovalAnswerBody,
  ApprovalRequestBody,
  ApprovalReviewBody,
  EmergencyAccessBody,
} from '@meshpass/identity/approval';
import { z } from 'zod';

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
  /**
   * Lists what this session may request and answer. `own` only lists the session's own requests. Other members are
   * rejected, because earlier versions of `meshpass` also sent changes with this command.
   */
  z.strictObject({ command: z.literal('approvals'), scope: z.literal('own').optional() }),
  /** Sends a change to the broker, which validates its content (see `ApprovalsChange`). */
  z.object({
    command: z.literal('approvals-change'),
    path: z.enum([
      '/approvals',
      '/approvals/emergency',
      '/approvals/review',
      '/approvals/withdraw',
      '/approvals/answer',
    ]),
    body: z.record(text, z.unknown()),
  }),
]);
export type ControlRequest = z.infer<typeof ControlRequest>;

/** A change of an approval request: the broker's route, and the request body that it expects. */
export type ApprovalsChange =
  | { readonly path: '/approvals'; readonly body: ApprovalRequestBody }
  | { readonly path: '/approvals/emergency'; readonly body: EmergencyAccessBody }
  | { readonly path: '/approvals/withdraw'; readonly body: { readonly id: string } }
  | ApprovalsAnswer;
export type ApprovalsAnswer =
  | { readonly path: '/approvals/review'; readonly body: ApprovalReviewBody }
  | { readonly path: '/approvals/answer'; readonly body: ApprovalAnswerBody };
