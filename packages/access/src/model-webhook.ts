/** Webhooks for approvals, as the model has them. */
import type { Place } from '@meshpass/istio';

/** Where requests for approval are sent, and from where answers come. */
export interface ApprovalWebhook {
  readonly name: string;
  readonly place: Place;
  readonly url: string;
  /** Issuer whose people it names: `github`, or a name of `trust.issuers`. */
  readonly speaksFor: string;
}
