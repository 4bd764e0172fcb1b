/** Runs the broker: reads the configuration, waits as a standby, and composes the parts. */

// The broker as a process.

export { BrokerConfig, parseBrokerConfig } from './config.ts';
export { growHeapSlowly } from './heap.ts';
export { type Broker, serveBroker } from './serve.ts';
