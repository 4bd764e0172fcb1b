/**
 * Exports the session modules, which the running agent loads in a single step while the first connection to the broker
 * is being opened.
 */
export { BrokerClient } from './broker-client.ts';
export { CredentialManager } from './credential-manager.ts';
export { generateDpopKey } from './enrol.ts';
export { certificatesOf } from './granted.ts';
