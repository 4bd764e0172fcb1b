/** Exports the agent's sign-in modules, which are loaded once the first connection has been started. */
export { createIssuerRequester } from './issuer-http.ts';
export { createSignInBrokerClient, SignIns } from './sign-ins.ts';
