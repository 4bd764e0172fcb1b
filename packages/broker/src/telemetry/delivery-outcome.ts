/** What becomes of messages to webhooks, for the metrics. `dropped`: the access file no longer has the webhook. */
export const DELIVERY_OUTCOMES = ['delivered', 'failed', 'given_up', 'dropped'] as const;
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];
