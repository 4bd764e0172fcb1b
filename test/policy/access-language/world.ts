/** A mesh with a broker whose access file a test rewrites, and people who try its grants. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TunnelReport } from '@meshpass/cli/drill/tunnel';
import type { KubeObject } from '@meshpass/lab';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { completed, idTokenProof, ORDERS, openDataPath, until } from '../../mesh.ts';

export const TRUST = `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: "https://idp.test:8443", audience: meshpass}
`;
export const WHO = '    who: [{issuer: okta, claims: {groups: sre}}]\n';

/** Any method of any gRPC service, answered with the status OK. */
const GRPC_SERVER = `require('node:http2').createServer().on('stream', (stream) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end();
}).listen(50051, '0.0.0.0');`;

interface ServicePort {
  readonly port: number;
  readonly targetPort: number;
  readonly name: string;
}

interface Call {
  readonly target?: string;
  readonly method?: string;
  readonly grant?: string;
}

export type AccessLanguage = Awaited<ReturnType<typeof openAccessLanguage>>;

export async function openAccessLanguage() {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-language-'));
  writeFileSync(join(dir, 'access.yaml'), TRUST.concat('grants: {}\n'));
  const dataPath = await openDataPath({ accessFile: join(dir, 'access.yaml') });
  rmSync(dir, { recursive: true });
  const { lab, meshpass } = dataPath;
  const adversary = dataPath.adversary();
  const created: KubeObject[] = [];
  /** Sessions that an agent would keep alive. */
  const alive = new Set<AdversarialClient>();
  const renewals = setInterval(() => {
    for (const one of alive) one.renew().catch(() => alive.delete(one));
  }, 10_000);
  let people = 0;

  /** A Service of the namespace shop in front of a host of the lab, with what an endpoint controller would write. */
  function serviceOn(host: string, name: string, port: ServicePort, labels: Record<string, string> = {}): KubeObject[] {
    const objects: KubeObject[] = [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: 'shop', labels },
        spec: { selector: { app: host }, ports: [port] },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        addressType: 'IPv4',
        metadata: { name: `${name}-lab`, namespace: 'shop', labels: { 'kubernetes.io/service-name': name } },
        ports: [{ name: port.name, port: port.targetPort, protocol: 'TCP' }],
        endpoints: [
          {
            addresses: [lab.hosts[host]!.ip],
            conditions: { ready: true },
            targetRef: { kind: 'Pod', name: host, namespace: 'shop' },
          },
        ],
      },
    ];
    created.push(...objects);
    return objects;
  }

  const label = (namespace: string, team: string | null) =>
    lab.kubernetes.call(
      'PATCH',
      `/api/v1/namespaces/${namespace}`,
      { metadata: { labels: { team } } },
      'application/merge-patch+json',
    );

  /** Writes the included files, and then the access file. */
  function put(text: string, included: Readonly<Record<string, string>> = {}): void {
    const dir = dirname(meshpass.accessFile);
    for (const [name, inner] of Object.entries(included)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), inner);
    }
    writeFileSync(meshpass.accessFile, text);
  }

  /** Proof of a member of the group sre, with more claims. */
  const proof = async (claims: Readonly<Record<string, unknown>> = {}) =>
    idTokenProof(
      dataPath.secret(
        await dataPath.idp.idToken({ subject: `00u${++people}`, claims: { groups: ['sre', 'dev'], ...claims } }),
      ),
    );

  /** Opens a session as soon as the file that grants it is in force. */
  async function session(
    name: string,
    grant: string,
    claims?: Readonly<Record<string, unknown>>,
  ): Promise<AdversarialClient> {
    const one = adversary.as(name);
    const answer = await until(
      async () => one.enrol(await proof(claims)),
      ({ status, json }) =>
        status === 200 && (json as { session: { grants: string[] } }).session.grants.includes(grant),
      40,
    );
    await completed(dataPath, one, answer, grant);
    alive.add(one);
    return one;
  }

  /** Status of the answer, or the layer that let nothing through. */
  async function call(
    by: AdversarialClient,
    path: string,
    { target = ORDERS, method = 'GET', grant = 'paths' }: Call = {},
  ) {
    const { identityToken } = await by.show();
    const token = `x-meshpass-token: ${identityToken}\r\n`;
    const send = `${method} ${path} HTTP/1.1\r\nHost: ${target}\r\ncontent-length: 0\r\n${token}\r\n`;
    const report = await by.tunnel({ target, grant, edge: meshpass.edge, send });
    return statusOf(report);
  }

  await lab.kubernetes.apply(...serviceOn('orders', 'orders-grpc', { port: 9000, targetPort: 50051, name: 'grpc' }));
  lab.spawn('orders', ['node', '-e', GRPC_SERVER]);
  return {
    dataPath,
    adversary,
    keepAlive: (one: AdversarialClient) => void alive.add(one),
    removeAtTheEnd: (object: KubeObject) => void created.push(object),
    serviceOn,
    label,
    put,
    proof,
    session,
    call,
    async close() {
      clearInterval(renewals);
      for (const object of created.reverse()) await lab.kubernetes.remove(object).catch(() => undefined);
      await label('dev', null);
      await label('shop', null);
      await dataPath.close();
    },
  };
}

export function statusOf(report: TunnelReport): number | string {
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : `${report.stage} ${report.edgeCode ?? report.error ?? report.answer}`;
}
