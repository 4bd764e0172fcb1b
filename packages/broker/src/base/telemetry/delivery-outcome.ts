/**
 * The possible outcomes of delivering a webhook message, as reported in metrics. `dropped` means that the access file
 * no longer contains the webhook.
 */
export const DELIVERY_OUTCOMES = ['delivered', 'failed', 'given_up', 'dropped'] as const;
export type DeliveryOutcome = (typeof DELIVERY_OUTCOMES)[number];
