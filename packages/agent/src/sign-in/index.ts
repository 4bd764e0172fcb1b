/** The agent's sign-in modules, loaded once the first connection has been started. */
export { askIssuer } from './issuer-http.ts';
export { SignIns, signInBroker } from './sign-ins.ts';
