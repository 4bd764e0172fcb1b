/** Calls that are not granted, and the part that refuses each. An adversarial client makes calls that an agent never would. */
import type { Answer } from '@meshpass/cli/broker/request';
import type { TunnelReport } from '@meshpass/cli/drill/tunnel';
import { startAdversarialClient } from '../adversarial-client/drive.ts';
import { expectThat, type Scene } from './scene.ts';

const ORDERS = 'orders.shop.svc.cluster.local:8080';
const GRANT = 'payments-dev';
const CODESPACE_PROOF = 'urn:meshpass:token-type:github-codespace';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';

export async function refusals(scene: Scene): Promise<void> {
  const { lab, meshpass, github, idp, story } = scene;
  story.chapter('What is not granted', 'refused, and by which layer');
  await byTheAgent(scene);

  story.aside("The agent would not even send these. A test client sends them, with alice's own credentials:");
  const adversary = startAdversarialClient(lab, 'workspace', meshpass.brokerUrl);
  const codespace = await github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
  await mustSucceed(
    adversary.enrol({
      subject_token_type: CODESPACE_PROOF,
      subject_token: codespace.token,
      codespace_name: codespace.name,
    }),
  );
  await mustSucceed(adversary.certificate(GRANT));
  await mustSucceed(adversary.token());
  const { identityToken } = await adversary.show();
  const open = await adversary.tunnel({
    target: ORDERS,
    grant: GRANT,
    edge: meshpass.edge,
    send: get('/orders/1', identityToken),
  });
  expectThat(
    open.answer?.startsWith('HTTP/1.1 200') ?? false,
    `the valid control call failed: ${JSON.stringify(open)}`,
  );

  const web = await adversary.tunnel({ target: 'web.dev.svc.cluster.local:80', grant: GRANT, edge: meshpass.edge });
  refusedByEdge(scene, 'CONNECT to web.dev:80 (not granted)', web);
  const lie = { target: ORDERS, grant: GRANT, edge: meshpass.edge, sni: 'outbound_.80_._.web.dev.svc.cluster.local' };
  const lied = await adversary.tunnel(lie);
  expectThat(lied.stage !== 'answer', 'the edge accepted a false SNI');
  story.refused('CONNECT to orders, inner TLS to web.dev', 'edge', 'inner SNI differs: TLS alert');

  const through = (send: string) => adversary.tunnel({ target: ORDERS, grant: GRANT, edge: meshpass.edge, send });
  refusedBySidecar(scene, 'GET /orders/1 without an identity token', await through(get('/orders/1', undefined)));
  refusedBySidecar(scene, 'GET /admin/users with valid credentials', await through(get('/admin/users', identityToken)));

  const bob = adversary.as('bob');
  const bobsProof = await idp.idToken({ subject: '00u2bob' });
  await mustSucceed(bob.enrol({ subject_token_type: ID_TOKEN, subject_token: bobsProof }));
  await mustSucceed(bob.token());
  const bobsToken = (await bob.show()).identityToken;
  refusedBySidecar(scene, "bob's identity token on alice's connection", await through(get('/orders/1', bobsToken)));

  const stolen = await adversary.as('thief').enrol({
    subject_token_type: CODESPACE_PROOF,
    subject_token: await github.createUserTokenOf('mallory', 'ghu_', false),
    codespace_name: codespace.name,
  });
  refusedByBroker(scene, "mallory's GitHub token, alice's Codespace", stolen);
  const personal = await adversary.as('scripter').enrol({
    subject_token_type: CODESPACE_PROOF,
    subject_token: await github.createUserToken('alice'),
    codespace_name: codespace.name,
  });
  refusedByBroker(scene, "alice's personal token, alice's Codespace", personal);
  const elsewhere = startAdversarialClient(lab, 'github', meshpass.brokerUrl);
  const carried = await elsewhere.enrol({
    subject_token_type: CODESPACE_PROOF,
    subject_token: codespace.token,
    codespace_name: codespace.name,
  });
  elsewhere.end();
  refusedByBroker(scene, "the Codespace's own token, on another machine", carried);
  const again = await adversary.as('replayer').enrol({ subject_token_type: ID_TOKEN, subject_token: bobsProof });
  refusedByBroker(scene, "bob's ID token, used a second time", again);
  adversary.end();
}

async function byTheAgent({ lab, story }: Scene): Promise<void> {
  const admin = await lab.exec('workspace', ['curl', '-sS', 'http://orders.shop:8080/admin/users']);
  expectThat(admin.stdout.includes('refused by policy'), `GET /admin/users was not refused: ${admin.stdout}`);
  story.command('curl http://orders.shop:8080/admin/users');
  story.lines(wrapped(admin.stdout.trim(), 100));
  const script = 'eval "$(meshpass env)"; curl -sS http://orders.shop:9090/';
  const port = await lab.exec('workspace', ['sh', '-c', script]);
  expectThat(port.stdout.includes('not granted'), `orders.shop:9090 was not refused: ${port.stdout}${port.stderr}`);
  story.command('eval "$(meshpass env)"; curl http://orders.shop:9090/');
  story.lines(wrapped(port.stdout.trim(), 100));
}

function get(path: string, token: string | undefined): string {
  const identity = token === undefined ? '' : `x-meshpass-token: ${token}\r\n`;
  return `GET ${path} HTTP/1.1\r\nHost: orders.shop:8080\r\n${identity}\r\n`;
}

function refusedByEdge({ story }: Scene, attempt: string, report: TunnelReport): void {
  expectThat(report.stage === 'edge', `${attempt} passed the edge: ${JSON.stringify(report)}`);
  story.refused(attempt, 'edge', `${report.edgeStatus ?? ''} ${report.edgeCode ?? report.error ?? ''}`.trim());
}

function refusedBySidecar({ story }: Scene, attempt: string, report: TunnelReport): void {
  const status = /^HTTP\/1\.1 (40[13])/.exec(report.answer ?? '')?.[1];
  expectThat(status !== undefined, `${attempt} was not refused: ${JSON.stringify(report)}`);
  story.refused(attempt, 'sidecar', `${status} ${report.answer?.split('\r\n\r\n')[1] ?? ''}`.trim());
}

function refusedByBroker({ story }: Scene, attempt: string, answer: Answer): void {
  const code = (answer.json as { error_code?: string } | undefined)?.error_code;
  expectThat(answer.status >= 400 && code !== undefined, `${attempt} was not refused: ${answer.status} ${answer.text}`);
  story.refused(attempt, 'broker', `${answer.status} ${code}`);
}

async function mustSucceed(asked: Promise<Answer>): Promise<void> {
  const answer = await asked;
  expectThat(answer.status === 200, `the broker answered ${answer.status}: ${answer.text}`);
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line.length + word.length >= width) lines.push(line);
    line = line.length + word.length >= width ? word : `${line} ${word}`.trim();
  }
  return [...lines, line];
}
