/** Runs the broker: reads its configuration, waits as a standby, and then starts all of its parts. */

// Starting and configuring a broker process.

export { BrokerConfig, parseBrokerConfig } from './config.ts';
export { growHeapSlowly } from './heap.ts';
export { type Broker, serveBroker } from './serve.ts';
