/** The agent's sign-in modules, loaded once the first connection has been started. */
export { signInBroker } from './broker.ts';
export { askIssuer } from './issuer-http.ts';
export { SignIns } from './sign-ins.ts';
