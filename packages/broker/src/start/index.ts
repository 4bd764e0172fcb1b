/** The running broker: configuration, standby, and how its parts are composed. */

// The broker as a process.

export { BrokerConfig, parseBrokerConfig } from './config.ts';
export { growHeapSlowly } from './heap.ts';
export { type Broker, serveBroker } from './serve.ts';
