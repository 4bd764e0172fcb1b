/** `node lab/src/github/main.ts --listen HOST:PORT --tls-cert FILE --tls-key FILE --state DIR`, and the same for port forwarding */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startGithub } from './start.ts';

const { values } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    'tls-cert': { type: 'string' },
    'tls-key': { type: 'string' },
    state: { type: 'string' },
    'forwarding-listen': { type: 'string' },
    'forwarding-tls-cert': { type: 'string' },
    'forwarding-tls-key': { type: 'string' },
    tunnels: { type: 'string' },
  },
});
const pair = (cert: string | undefined, key: string | undefined) =>
  cert && key ? { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') } : undefined;
const tls = pair(values['tls-cert'], values['tls-key']);
const forwardingTls = pair(values['forwarding-tls-cert'], values['forwarding-tls-key']);
const { 'forwarding-listen': forwardingListen, tunnels } = values;
const github = await startGithub({
  listen: values.listen,
  ...(tls && { tls }),
  ...(forwardingTls && { forwardingTls }),
  ...(forwardingListen && { forwardingListen }),
  ...(tunnels && { tunnels }),
  ...(values.state ? { state: values.state } : {}),
});
console.log(`GitHub stand-in listens at ${github.url}`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void github.close().then(() => process.exit(0)));
}
