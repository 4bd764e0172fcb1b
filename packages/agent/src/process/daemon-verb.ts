/** First word of the command line by which a single executable knows that it is to be the agent's process. */
export const DAEMON_VERB = '__agent';
