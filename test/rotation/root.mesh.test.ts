/**
 * The root of the mesh is changed while developers work: on a real istiod, in the stages in which an operator of Istio does
 * it, under steady traffic, with no failed request and without a restart of broker, edge or agent.
 */
import 'reflect-metadata';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Trust } from '@meshpass/cli/commands/rotate';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { Svid } from '@meshpass/lab/adversarial-client/holder';
import { type CaRotation, prepareCaRotation } from '@meshpass/lab/mesh/rotate-ca';
import * as x509 from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';
import { type SteadyTraffic, startTraffic } from '../traffic/steady-traffic.ts';

let dataPath: DataPath;
let rotation: CaRotation;
let traffic: SteadyTraffic;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));

/** Certificates live two minutes here, so that agents renew them within the test. */
function shortLived(): string {
  const lab = readFileSync(new URL('../../lab/src/access.yaml', import.meta.url), 'utf8');
  const file = join(directory, 'access.yaml');
  writeFileSync(file, lab.replaceAll('ttl: 10m', 'ttl: 2m').replaceAll('ttl: 5m', 'ttl: 2m'));
  return file;
}

beforeAll(async () => {
  // The edge is a process of its own, which gets roots from the broker as in production.
  dataPath = await openDataPath({
    accessFile: shortLived(),
    edgeApart: true,
    flags: ['--heartbeat', '3', '--lease', '180'],
  });
  rotation = await prepareCaRotation(dataPath.lab);
  const { name, token } = await dataPath.codespace();
  const env = {
    CODESPACES: 'true',
    CODESPACE_NAME: name,
    GITHUB_TOKEN: token,
    MESHPASS_BROKER: dataPath.meshpass.brokerUrl,
    MESHPASS_CA_FILE: dataPath.lab.testCa,
  };
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
  expect(up.code, up.stderr).toBe(0);
  processes = await running();
  traffic = await startTraffic(dataPath.lab, 'workspace');
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

let processes: string;
/** Every process of Meshpass on its hosts, with the instant at which it started. */
async function running(): Promise<string> {
  const ps = async (host: string) => {
    const { netns } = dataPath.lab.hosts[host]!;
    const argv = ['sh', '-c', `for pid in $(ip netns pids ${netns}); do ps -o pid=,lstart=,args= -p $pid; done`];
    const { stdout } = await dataPath.lab.exec(host, argv);
    return stdout.split('\n').filter((line) => /meshpass (?:serve|edge)|daemon/.test(line));
  };
  return (await Promise.all(['meshpass', 'workspace'].map(ps))).flat().sort().join('\n');
}

async function roots(): Promise<Trust['roots']> {
  const flags = ['--operator', dataPath.meshpass.operatorUrl, '--output', 'json'];
  const env = { MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken };
  const { stdout, stderr } = await dataPath.lab.exec('meshpass', ['meshpass', 'rotate', '--status', ...flags], { env });
  expect(stderr).toBe('');
  return (JSON.parse(stdout) as Trust).roots;
}
/** Number of times that agents have read the services, which is how they learn of roots. */
async function servicesRead(): Promise<number> {
  const text = await (await fetch(`${dataPath.meshpass.operatorUrl}/metrics`)).text();
  return Number(/^meshpass_http_request_seconds_count\{route="\/services",status="200"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}
/** Runs the step, and waits until the agent knows of it. */
async function andAgentsHear(stage: () => Promise<void>): Promise<void> {
  const before = await servicesRead();
  await stage();
  await until(servicesRead, (count) => count > before, 30);
}
type Forged = Pick<Svid, 'privateKey' | 'chain'>;
/** A certificate for another person's SPIFFE id, signed by a thief of the mesh CA's key. */
async function forge(spiffeId: string): Promise<Forged> {
  const stolen = (file: string) => readFileSync(join(dataPath.lab.dir, 'ca', file), 'utf8');
  const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const der = x509.PemConverter.decodeFirst(stolen('ca-key.pem'));
  const signingKey = await crypto.subtle.importKey('pkcs8', der, RSA, false, ['sign']);
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const leaf = await x509.X509CertificateGenerator.create({
    subject: '',
    issuer: new x509.X509Certificate(stolen('ca-cert.pem')).subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: RSA,
    extensions: [
      new x509.BasicConstraintsExtension(false),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }], true),
    ],
  });
  const pkcs8 = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { privateKey: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'), chain: leaf.toString('pem') };
}
/** Through the data path, with certificates of one's choice towards the edge and towards the workload. */
async function call(by: AdversarialClient, outer?: Forged) {
  expect((await by.renew()).kind).toBe('lease');
  expect((await by.token()).status).toBe(200);
  const { identityToken } = await by.show();
  return await by.tunnel({
    target: ORDERS,
    grant: GRANT,
    edge: dataPath.meshpass.edge,
    ...(outer && { outerCertificate: outer }),
    send: `GET /orders/1 HTTP/1.1\r\nhost: orders.shop:8080\r\nx-meshpass-token: ${identityToken}\r\n\r\n`,
  });
}
/** Calls the workload's own sidecar, as a thief inside the cluster's network would. */
async function straight(owner: AdversarialClient, certificate: Forged) {
  const thief = dataPath.adversary('github');
  await thief.take({ ...(await owner.show()), svids: { [GRANT]: { ...certificate, spiffeId: '' } } });
  const straightTo = { host: dataPath.lab.hosts.orders!.ip, port: 8080 };
  const report = await thief.tunnel({ target: ORDERS, grant: GRANT, straightTo, send: 'GET / HTTP/1.0\r\n\r\n' });
  thief.end();
  return report;
}
const GRANT = 'payments-dev';
const served = { stage: 'answer', answer: expect.stringMatching(/^HTTP\/1\.1 200 /) };

describe('the root of the mesh', () => {
  let old: string;
  let next: string;
  let forged: Forged;
  let client: AdversarialClient;

  it('gets company: both are trusted, everywhere, and the old authority signs', async () => {
    const before = await roots();
    expect(before.trusted).toHaveLength(1);
    old = before.trusted[0]!.sha256;
    await andAgentsHear(rotation.trustBoth);
    const both = await until(roots, ({ trusted }) => trusted.length === 2, 30);
    next = both.trusted.find(({ sha256 }) => sha256 !== old)!.sha256;
    await traffic.goesOn();
    expect((await roots()).trusted.find(({ sha256 }) => sha256 === next)).toMatchObject({ certificates: 0 });

    // While the old root is trusted, a holder of its key is trusted: its removal must end this.
    client = dataPath.adversary('workspace-2');
    await enrolled(dataPath, client);
    forged = await forge((await client.show()).svids[GRANT]!.spiffeId);
    await until(
      () => call(client, forged),
      ({ stage }) => stage === 'answer',
      30,
    );
    expect(await straight(client, forged)).toMatchObject({
      stage: 'answer',
      answer: expect.stringMatching(/^HTTP\/1\.1 [34]/),
    });
  }, 120_000);

  it('signs no more: certificates of the new authority are issued and accepted beside the old ones', async () => {
    await rotation.switchIssuer();
    expect(await client.certificate(GRANT)).toMatchObject({ status: 200 });
    expect(await call(client)).toMatchObject(served);
    expect((await roots()).trusted.find(({ sha256 }) => sha256 === next)!.certificates).toBeGreaterThan(0);
    // Agents follow at their next renewal; then no agent needs the old root.
    await until(
      async () => {
        expect(traffic.seen().failures).toEqual([]);
        expect((await client.renew()).kind).toBe('lease');
        return await roots();
      },
      ({ trusted, other_certificates: others }) =>
        trusted.find(({ sha256 }) => sha256 === old)!.certificates + others === 0,
      120,
    );
    await traffic.goesOn();
  }, 240_000);

  it('goes: certificates under it are refused, and everything else continues', async () => {
    expect(await call(client, forged)).toMatchObject(served);
    await andAgentsHear(rotation.dropOld);
    expect((await until(roots, ({ trusted }) => trusted.length === 1, 30)).trusted[0]!.sha256).toBe(next);
    await until(
      () => call(client, forged),
      ({ edgeCode }) => edgeCode === 'tunnel_certificate_untrusted',
    );
    expect(await call(client)).toMatchObject(served);
    expect(await straight(client, forged)).toMatchObject({
      stage: 'inner',
      error: expect.stringMatching(/unknown ca|certificate|closed|ECONNRESET|EPIPE/i),
    });
    const { svids } = await client.show();
    expect(await straight(client, svids[GRANT]!)).toMatchObject({ stage: 'answer' });
    await traffic.goesOn();
    const { failures, done } = await traffic.end();
    expect(failures).toEqual([]);
    console.log(`requests while the root was changed, none failed: ${JSON.stringify(done)}`);
    // The same processes as before, every one.
    expect(await running()).toBe(processes);
  }, 180_000);
});
