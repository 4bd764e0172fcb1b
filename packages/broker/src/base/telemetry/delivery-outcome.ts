/** Outcomes of webhook messages, for the metrics. `dropped` means that the access file no longer has the webhook. */
export const DELIVERY_OUTCOMES = ['delivered', 'failed', 'given_up', 'dropped'] as const;
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];
