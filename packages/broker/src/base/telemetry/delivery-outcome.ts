/** Outcomes of webhook messages, for metrics. `dropped` means that the webhook is no longer in the access file. */
export const DELIVERY_OUTCOMES = ['delivered', 'failed', 'given_up', 'dropped'] as const;
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];
