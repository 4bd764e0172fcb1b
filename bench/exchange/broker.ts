/**
 * The broker of bench/exchange/bench.ts, in a process of its own on one core: the real HTTP server, attestor, access file, journal
 * and store. Played are the issuer's key endpoint (no network is measured) and the mesh (nothing is signed here).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorize, parseAccess } from '@meshpass/access';
import { createAttestor } from '@meshpass/broker/attest/attest';
import { createLogger } from '@meshpass/broker/base/telemetry/log';
import { keyFileStorage } from '@meshpass/broker/core/token/key-storage';
import { openSigner } from '@meshpass/broker/core/token/signer';
import { createIssuerKeys } from '@meshpass/broker/issuers/oidc/issuer-keys';
import { parseBrokerConfig } from '@meshpass/broker/start/config';
import { growHeapSlowly } from '@meshpass/broker/start/heap';
import { serveBroker } from '@meshpass/broker/start/serve';
import { writeCertificate } from '../../packages/broker/test/harness/certificate.ts';
import { playMesh } from '../../packages/broker/test/harness/mesh.ts';

const ISSUER = 'https://idp.bench';
const ACCESS = `
trust:
  issuers: {idp: {issuer: "${ISSUER}", audience: meshpass}}
grants:
  payments-dev:
    who:
      - {issuer: idp, when: 'claims.email.endsWith("@acme.com") && claims.groups.exists(g, g == "sre")'}
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*]}
      - {service: ledger-db.shop, port: 5432}
`;

export interface Start {
  readonly jwks: unknown;
}
export interface Started {
  readonly port: number;
  readonly ca: string;
  readonly store: string;
}

process.once('message', async ({ jwks }: Start) => {
  growHeapSlowly();
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-bench-'));
  const tls = await writeCertificate(dir);
  const mesh = playMesh();
  const access = parseAccess(ACCESS, 'access.yaml');
  mesh.setAccess(access.grants);
  const issuer = async (input: unknown) =>
    Response.json(
      String(input).endsWith('/jwks') ? jwks : { issuer: ISSUER, jwks_uri: `${ISSUER}/jwks`, token_endpoint: ISSUER },
    );
  const keys = createIssuerKeys({ clock: Date.now, fetch: issuer, timeoutMs: 5_000 });
  const config = parseBrokerConfig({
    publicUrl: 'https://broker.bench',
    listen: { host: '127.0.0.1', port: 0 },
    operator: { host: '127.0.0.1', port: 0 },
    tls: { certFile: tls.certFile, keyFile: tls.keyFile },
    dataDir: join(dir, 'data'),
    databaseUrl: process.env.DATABASE_URL,
    edge: { host: 'edge.bench', port: 443 },
  });
  const inForce = () => access;
  const broker = await serveBroker(config, {
    attest: createAttestor({
      access: inForce,
      // No Codespace is presented here.
      codespaces: { api: { clock: Date.now } } as never,
      oidc: { keys, clock: Date.now },
    }),
    authorize,
    authority: mesh.authority,
    revoker: mesh.revoker,
    mesh: { ...mesh, access: inForce },
    signer: await openSigner(keyFileStorage(join(dir, 'data', 'signing-key.pem'))),
    reviewEdgeToken: async (token) => token === process.env.BENCH_EDGE_TOKEN,
    log: createLogger('broker', 'warn'),
  });
  const started: Started = { port: broker.port, ca: tls.pem, store: config.databaseUrl ? 'PostgreSQL' : 'PGlite' };
  process.send!(started);
  process.on('message', async (message) => {
    if (message === 'usage') process.send!(process.cpuUsage());
    if (message !== 'stop') return;
    await broker.close();
    rmSync(dir, { recursive: true, force: true });
    process.exit(0);
  });
});
