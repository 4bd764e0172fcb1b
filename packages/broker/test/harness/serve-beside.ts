/**
 * A whole broker in a process of its own, one of several on one PostgreSQL. Its argument is JSON (Beside). Says on standard
 * output what the mesh is told, a line each; exit code 3 where another has taken over.
 */
import { createPrivateKey } from 'node:crypto';
import { writeSync } from 'node:fs';
import { parseSpiffe } from '@meshpass/identity';
import { createLogger } from '../../src/base/telemetry/log.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import { parseBrokerConfig } from '../../src/start/config.ts';
import { serveBroker } from '../../src/start/serve.ts';
import { PUBLIC_URL } from './broker.ts';
import { playIdp } from './idp.ts';
import { grant, playMesh } from './mesh.ts';

export interface Beside {
  readonly name: string;
  readonly port: number;
  readonly operatorPort: number;
  readonly databaseUrl: string;
  readonly dataDir: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly operatorTokenFile: string;
  readonly signingKeyFile: string;
  readonly auditKeyFile: string;
  readonly auditCheckpointFile: string;
  /** PEM of the key of the IdP that all of them trust. */
  readonly idpKey: string;
  readonly leaseSeconds: number;
  /** SPIFFE ids that the cluster knows of. */
  readonly principals?: readonly string[];
  /** Between two checkpoints. */
  readonly checkpointSeconds?: number;
}

const given = JSON.parse(process.argv[2]!) as Beside;
const mesh = playMesh();
mesh.setAccess([grant('dev')]);
mesh.principals = (given.principals ?? []).map((spiffeId) => ({ ...parseSpiffe(spiffeId)!, spiffeId }));
const idp = await playIdp(createPrivateKey(given.idpKey));
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const { revoker } = mesh;
const broker = await serveBroker(
  parseBrokerConfig({
    publicUrl: PUBLIC_URL,
    listen: { host: '127.0.0.1', port: given.port },
    operator: { host: '127.0.0.1', port: given.operatorPort },
    tls: { certFile: given.certFile, keyFile: given.keyFile },
    dataDir: given.dataDir,
    databaseUrl: given.databaseUrl,
    edge: { host: 'edge.example', port: 443 },
    operatorTokenFile: given.operatorTokenFile,
    breakGlass: true,
    auditKeyFile: given.auditKeyFile,
    auditCheckpointFile: given.auditCheckpointFile,
    auditCheckpointSeconds: given.checkpointSeconds,
    leaseSeconds: given.leaseSeconds,
    heartbeatSeconds: 1,
    restartGraceSeconds: 5,
  }),
  {
    attest: idp.attest,
    authorize: mesh.authorize,
    authority: mesh.authority,
    revoker: {
      ...revoker,
      apply: async (revoked) => {
        writeSync(1, `${JSON.stringify({ revoked: revoked.map(({ spiffeId }) => spiffeId) })}\n`);
        await revoker.apply(revoked);
      },
    },
    mesh,
    signer: await openSigner(keyFileStorage(given.signingKeyFile)),
    reviewEdgeToken: async (token) => token === 'edge-token',
    log: createLogger('broker', 'info', { write: (line) => void writeSync(2, line) }),
    signal: stop.signal,
  },
).catch((thrown) => {
  if (stop.signal.aborted) process.exit(0);
  writeSync(2, `${thrown.code} ${thrown.message}\n`);
  process.exit(thrown.code === 'config_invalid' ? 2 : thrown.retryable ? 3 : 1);
});
stop.signal.addEventListener('abort', () => void broker.close().then(() => process.exit(0)));
await broker.lost;
process.exit(3);
