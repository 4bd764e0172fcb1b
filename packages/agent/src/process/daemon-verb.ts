/** The first argument that makes a single executable run as the agent process. */
export const DAEMON_COMMAND = '__agent';
