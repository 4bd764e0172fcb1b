export { createLogger } from './base/index.ts';
export { openSigner } from './core/index.ts';
export { type Broker, type BrokerConfig, growHeapSlowly, parseBrokerConfig, serveBroker } from './start/index.ts';
export { createActiveState } from './store/index.ts';
