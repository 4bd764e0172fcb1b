/** First argument that makes a single executable run as the agent process. */
export const DAEMON_VERB = '__agent';
