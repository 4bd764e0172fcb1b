/**
 * Node's HTTP. An `import` of it reads each of its exports, and with `WebSocket` loads the web's `fetch` and all around it: 14 MB of
 * memory that the agent does not need.
 */
export const { Agent, createServer, request } = process.getBuiltinModule('node:http');
