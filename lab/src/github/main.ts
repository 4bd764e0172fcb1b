/** `node lab/src/github/main.ts --listen HOST:PORT --tls-cert FILE --tls-key FILE --state DIR` */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startGithub } from './start.ts';

const { values } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    'tls-cert': { type: 'string' },
    'tls-key': { type: 'string' },
    state: { type: 'string' },
  },
});
const cert = values['tls-cert'];
const key = values['tls-key'];
const github = await startGithub({
  listen: values.listen,
  ...(cert && key ? { tls: { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') } } : {}),
  ...(values.state ? { state: values.state } : {}),
});
console.log(`GitHub stand-in listens at ${github.url}`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void github.close().then(() => process.exit(0)));
}
