/**
 * Both issuers in one process:
 * `node lab/src/oidc/main.ts --listen HOST:PORT --tls-cert FILE --tls-key FILE
 *    --actions-listen HOST:PORT --actions-tls-cert FILE --actions-tls-key FILE --state DIR`
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { TlsFiles } from '../stand-in/listen.ts';
import { startActions } from './actions.ts';
import { startIdp } from './idp.ts';

const { values } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    issuer: { type: 'string', default: 'https://idp.test:8443' },
    'tls-cert': { type: 'string' },
    'tls-key': { type: 'string' },
    'actions-listen': { type: 'string', default: '127.0.0.1:0' },
    'actions-issuer': { type: 'string', default: 'https://token.actions.test:9443' },
    'actions-tls-cert': { type: 'string' },
    'actions-tls-key': { type: 'string' },
    state: { type: 'string' },
  },
});
const state = values.state ? { state: values.state } : {};
const [idp, actions] = await Promise.all([
  startIdp({ listen: values.listen, issuer: values.issuer, ...tls(values['tls-cert'], values['tls-key']), ...state }),
  startActions({
    listen: values['actions-listen'],
    issuer: values['actions-issuer'],
    ...tls(values['actions-tls-cert'], values['actions-tls-key']),
    ...state,
  }),
]);
console.log(`${idp.issuer} listens at ${idp.url}`);
console.log(`${actions.issuer} listens at ${actions.url}`);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void Promise.all([idp.close(), actions.close()]).then(() => process.exit(0)));
}

function tls(cert: string | undefined, key: string | undefined): { tls?: TlsFiles } {
  return cert && key ? { tls: { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') } } : {};
}
