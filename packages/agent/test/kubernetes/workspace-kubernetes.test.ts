/** kubectl in the workspace: contents of the kubeconfig, and token requests to the broker. */
import { lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kubernetesGrants } from '../../src/kubernetes/addresses.ts';
import { WorkspaceKubernetes } from '../../src/kubernetes/workspace-kubernetes.ts';
import type { Credentials } from '../../src/session/enrol.ts';
import { kubernetesListener } from '../../src/xds/tunnel.ts';

const NOW = 1_700_000_000;
let directory: string;
let kubeconfig: string;
let asked: { accessToken: string; grant: string }[];
let now: number;
let credentials: Credentials;
let life: number;
let refusal: MeshpassError | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-kubernetes-'));
  kubeconfig = join(directory, 'kubeconfig');
  [asked, now, life, refusal] = [[], NOW, 600, undefined];
  credentials = holding([{ grant: 'dev', namespaces: ['shop', 'web'] }]);
});
afterEach(() => rmSync(directory, { recursive: true }));

function holding(grants: KubernetesAccess['grants'], id = 'session-1', certified = grants): Credentials {
  return {
    session: { id, grants: grants.map(({ grant }) => grant) },
    accessToken: `token of ${id}`,
    svids: new Map(certified.map(({ grant }) => [grant, {}])),
    kubernetes: { certificate_authority: 'PEM', grants },
  } as unknown as Credentials;
}

function start(): WorkspaceKubernetes {
  const kubernetes = new WorkspaceKubernetes({
    client: {
      get brokerNow() {
        return now * 1000;
      },
      call: async ({ accessToken, path, json }, schema) => {
        const { grant } = json as { grant: string };
        asked.push({ accessToken: accessToken!, grant });
        if (refusal) throw refusal;
        expect(path).toBe('/kubernetes/token');
        return schema.parse({ token: `${grant}.token.${asked.length}`, expires_at: now + life });
      },
    },
    credentials: () => credentials,
    runtimeDirectory: directory,
    command: ['/usr/bin/node', "/opt/it's/meshpass"],
    log: () => {},
  });
  kubernetes.update();
  return kubernetes;
}

describe('the kubeconfig', () => {
  it('has a context for each grant with a loopback server, and verifies the API server by its name', () => {
    credentials = holding([
      { grant: 'dev', namespaces: ['shop', 'web'] },
      { grant: 'ops', namespaces: ['infra'] },
    ]);
    const kubernetes = start();
    const config = JSON.parse(readFileSync(kubeconfig, 'utf8'));
    expect(config['current-context']).toBe('meshpass-dev');
    expect(config.contexts.map((one: { context: unknown }) => one.context)).toEqual([
      { cluster: 'meshpass-dev', user: 'meshpass-dev', namespace: 'shop' },
      { cluster: 'meshpass-ops', user: 'meshpass-ops', namespace: 'infra' },
    ]);
    expect(config.clusters[0].cluster).toEqual({
      server: expect.stringMatching(/^https:\/\/127\.63\.\d+\.\d+:6443$/),
      'tls-server-name': 'kubernetes.default.svc',
      'certificate-authority-data': Buffer.from('PEM').toString('base64'),
    });
    expect(config.users[1].user.exec).toMatchObject({
      apiVersion: 'client.authentication.k8s.io/v1',
      command: '/usr/bin/node',
      interactiveMode: 'Never',
      args: ["/opt/it's/meshpass", 'kubectl-credential', '--grant', 'ops'],
      env: [{ name: 'MESHPASS_RUNTIME_DIR', value: directory }],
    });
    expect(kubernetes.environment).toEqual({ KUBECONFIG: kubeconfig });
    expect(kubernetes.status!.contexts.map(({ name }) => name)).toEqual(['meshpass-dev', 'meshpass-ops']);
  });

  it('is accessible only to its owner, and follows no link', () => {
    const elsewhere = join(directory, 'elsewhere');
    writeFileSync(elsewhere, 'theirs');
    symlinkSync(elsewhere, `${kubeconfig}.new`);
    start();
    expect(statSync(kubeconfig).mode & 0o777).toBe(0o600);
    expect(lstatSync(kubeconfig).isFile()).toBe(true);
    expect(readFileSync(elsewhere, 'utf8')).toBe('theirs');
  });

  it('is removed when the session has no roles, when the agent ends, and after a crash', () => {
    writeFileSync(kubeconfig, 'of an agent that was killed');
    credentials = holding([]);
    const kubernetes = start();
    expect(() => statSync(kubeconfig)).toThrow();
    expect([kubernetes.status, kubernetes.environment]).toEqual([undefined, {}]);
    credentials = holding([{ grant: 'dev', namespaces: ['shop'] }]);
    kubernetes.update();
    expect(statSync(kubeconfig).isFile()).toBe(true);
    kubernetes.remove();
    expect(() => statSync(kubeconfig)).toThrow();
  });

  it('omits grants without a certificate, which could not open a tunnel', () => {
    credentials = holding([{ grant: 'dev', namespaces: ['shop'] }], 'session-1', []);
    expect(start().status).toBeUndefined();
  });
});

it('assigns each grant an address of its own, which stays the same', () => {
  const grants = Array.from({ length: 32 }, (_, at) => ({ grant: `g${at}`, namespaces: ['shop'] }));
  const found = kubernetesGrants(holding(grants));
  expect(new Set(found.map(({ host }) => host)).size).toBe(32);
  expect(kubernetesGrants(holding(grants.slice(0, 1)))[0]).toEqual(found[0]);
  expect(kubernetesListener('g0', found[0]!)).toMatchObject({
    address: { socket_address: { address: found[0]!.host, port_value: 6443 } },
  });
});

describe('a token', () => {
  it('is cached for most of its lifetime, and requested once for concurrent callers', async () => {
    const kubernetes = start();
    const first = await kubernetes.credential('dev');
    expect(first).toEqual({ token: 'dev.token.1', expirationTimestamp: new Date((NOW + 540) * 1000).toISOString() });
    now += 400;
    expect(await Promise.all([kubernetes.credential(), kubernetes.credential('dev')])).toEqual([first, first]);
    now += 100;
    expect((await kubernetes.credential()).token).toBe('dev.token.2');
    expect(asked).toHaveLength(2);
  });

  it('of another session is not handed out', async () => {
    const kubernetes = start();
    await kubernetes.credential();
    credentials = holding([{ grant: 'dev', namespaces: ['shop'] }], 'session-2');
    kubernetes.update();
    await kubernetes.credential();
    expect(asked.map(({ accessToken }) => accessToken)).toEqual(['token of session-1', 'token of session-2']);
  });

  it('is requested again after a refusal', async () => {
    const kubernetes = start();
    refusal = new MeshpassError('too_many_attempts', 'Wait.');
    await expect(kubernetes.credential()).rejects.toBe(refusal);
    refusal = undefined;
    expect((await kubernetes.credential()).token).toBe('dev.token.2');
  });

  it('is not requested without any grant', async () => {
    const kubernetes = start();
    credentials = holding([]);
    await expect(kubernetes.credential()).rejects.toMatchObject({ code: 'kubernetes_not_granted' });
    expect(asked).toEqual([]);
  });

  it("is refused with the broker's message under a grant without roles or an unknown one, since only the broker knows whether kubectl is off", async () => {
    const kubernetes = start();
    credentials = { ...holding([{ grant: 'dev', namespaces: ['shop'] }]), kubernetes: undefined };
    refusal = new MeshpassError('kubernetes_off', 'kubectl is off at this broker.');
    await expect(kubernetes.credential('dev')).rejects.toBe(refusal);
    await expect(kubernetes.credential()).rejects.toBe(refusal);
    refusal = new MeshpassError('kubernetes_not_granted', 'The grant dev has no role in Kubernetes.');
    await expect(kubernetes.credential('dev')).rejects.toBe(refusal);
    refusal = new MeshpassError('grant_unknown', 'The session does not have this grant.');
    await expect(kubernetes.credential('ops')).rejects.toBe(refusal);
    expect(asked.map(({ grant }) => grant)).toEqual(['dev', 'dev', 'dev', 'ops']);
  });
});
