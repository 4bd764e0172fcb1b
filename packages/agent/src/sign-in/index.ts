/** Sign-in modules of the agent. They are loaded once the first connection has been started. */
export { createIssuerRequester } from './issuer-http.ts';
export { createSignInBrokerClient, SignIns } from './sign-ins.ts';
