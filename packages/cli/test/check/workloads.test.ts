/** What `meshpass check` says of Deployments that do not run, of Certificates and of what an interrupted installation left. */
import { MeshpassError } from '@meshpass/identity/error';
import { describe, expect, it } from 'vitest';
import type { CheckContext } from '../../src/check/context.ts';
import { checkIssued } from '../../src/check/issued.ts';
import { checkLeftovers } from '../../src/check/leftovers.ts';
import { checkWorkloads } from '../../src/check/workloads.ts';

/** @param objects what the API server answers, by path; everything else is not there */
const cluster = (objects: Readonly<Record<string, unknown>>): CheckContext => ({
  http: {
    call: async ({ path }) => ({ status: objects[path] === undefined ? 404 : 200, body: objects[path] ?? {} }),
  },
  ...{ namespace: 'mine', rootNamespace: 'istio-system', istiod: 'istiod', gitops: false, now: Date.now },
  gateway: { namespace: 'mine', labels: { istio: 'meshpass-gateway' }, port: 15443 },
});
const deployment = (part: string, replicas: number, readyReplicas?: number) => ({
  [`/apis/apps/v1/namespaces/mine/deployments/meshpass-${part}`]: {
    ...{ metadata: { name: `meshpass-${part}` }, spec: { replicas }, status: { readyReplicas } },
  },
});
const RUNNING = { ...deployment('broker', 1, 1), ...deployment('edge', 2, 2), ...deployment('gateway', 2, 2) };
const pod = (status: object) => ({ items: [{ metadata: { name: 'meshpass-edge-1' }, status }] });
const waiting = (reason: string, message?: string) => ({
  containerStatuses: [{ state: { waiting: { reason, message } } }],
});
const PODS = '/api/v1/namespaces/mine/pods';
const EVENTS = '/api/v1/namespaces/mine/events';

describe('Deployments', () => {
  it('that run are counted', async () => {
    expect((await checkWorkloads(cluster(RUNNING))).map(({ state, says }) => [state, says])).toEqual([
      ['ok', 'meshpass-broker: 1 of 1 ready.'],
      ['ok', 'meshpass-edge: 2 of 2 ready.'],
      ['ok', 'meshpass-gateway: 2 of 2 ready.'],
    ]);
  });

  it('that are not there, and that are scaled to 0, are told apart', async () => {
    const findings = await checkWorkloads(cluster({ ...deployment('broker', 1, 1), ...deployment('edge', 0) }));
    expect(findings.map(({ says }) => says)).toEqual([
      'meshpass-broker: 1 of 1 ready.',
      'meshpass-edge is scaled to 0: none runs.',
      'There is no Deployment meshpass-gateway in mine.',
    ]);
    expect(findings[1]!.command).toBe('kubectl -n mine scale deployment meshpass-edge --replicas 2');
  });

  it.each([
    [
      'a Secret that is not there',
      pod(waiting('ContainerCreating')),
      ': 0 of 2 ready; secret "meshpass-edge-tls" not found.',
    ],
    [
      'an image that cannot be pulled',
      pod(waiting('ImagePullBackOff', 'Back-off pulling image "x"')),
      '; Back-off pulling image "x".',
    ],
    [
      'no room on a node',
      pod({
        conditions: [
          { type: 'PodScheduled', status: 'False', message: '0/1 nodes are available: 1 Insufficient cpu.\nmore' },
        ],
      }),
      '; 0/1 nodes are available: 1 Insufficient cpu.',
    ],
    ['nothing that is known', pod({}), ': 0 of 2 ready.'],
  ])('say what keeps their Pods from running: %s', async (what, pods, says) => {
    const message = 'MountVolume.SetUp failed for volume "tls" : secret "meshpass-edge-tls" not found';
    const events = { items: what.includes('Secret') ? [{ message }] : [] };
    const objects = { ...RUNNING, ...deployment('edge', 2), [PODS]: pods, [EVENTS]: events };
    const finding = (await checkWorkloads(cluster(objects)))[1]!;
    expect(finding.state).toBe('failed');
    expect(finding.says).toMatch(new RegExp(`${says.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`));
  });
});

describe('Deployments with what may not be looked at', () => {
  it.each([
    ['Pods', PODS],
    ['events', EVENTS],
  ])('are said not to be ready all the same: %s', async (_, forbidden) => {
    const { http, ...context } = cluster({
      ...{ ...RUNNING, ...deployment('edge', 2), [PODS]: pod(waiting('ContainerCreating')), [EVENTS]: { items: [] } },
    });
    const call: typeof http.call = async (asked) => {
      if (asked.path === forbidden)
        throw new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 403 } });
      return await http.call(asked);
    };
    const findings = await checkWorkloads({ ...context, http: { call } });
    expect(findings.map(({ says }) => says)).toContain('meshpass-edge: 0 of 2 ready.');
  });
});

describe('Pods that have started', () => {
  const finding = async (container: object) => {
    const pods = pod({ containerStatuses: [container] });
    const objects = { ...RUNNING, ...deployment('edge', 2), [PODS]: pods, [EVENTS]: { items: [] } };
    return (await checkWorkloads(cluster(objects)))[1]!;
  };
  const LOG =
    'kubectl -n mine logs -l app.kubernetes.io/name=meshpass,app.kubernetes.io/component=edge --prefix --tail 5';

  it('and are not ready lead to their log: no event says why', async () => {
    expect(await finding({ ready: false, state: { running: {} } })).toMatchObject({
      ...{ state: 'failed', says: 'meshpass-edge: 0 of 2 ready.', next: 'Its log says why.', command: LOG },
    });
  });

  it('and have ended are told by their last words', async () => {
    const message = '{"a":1}\nmeshpass: The audit log is not extended. [audit_log_behind]\n{"level":"info"}\n';
    const lastState = { terminated: { exitCode: 1, message } };
    for (const state of [{ waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } }, { running: {} }])
      expect(await finding({ ready: false, state, lastState })).toMatchObject({
        says: 'meshpass-edge: 0 of 2 ready; meshpass: The audit log is not extended. [audit_log_behind].',
        command: LOG,
      });
  });

  it('and have ended without a word for people lead to their log', async () => {
    const state = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } };
    const lastState = { terminated: { exitCode: 137, message: '{"level":"info"}' } };
    expect(await finding({ ready: false, state, lastState })).toMatchObject({
      ...{ says: 'meshpass-edge: 0 of 2 ready; back-off 40s.', command: LOG },
    });
  });
});

describe('Certificates of cert-manager', () => {
  const PATH = '/apis/cert-manager.io/v1/namespaces/mine/certificates';
  const issued = async (status: object | undefined, name = 'meshpass-edge') =>
    (await checkIssued(cluster({ [PATH]: { items: [{ metadata: { name }, status }] } }))).map(({ says }) => says);

  it('that are ready, of others, or not used, are no finding', async () => {
    expect(await issued({ conditions: [{ type: 'Ready', status: 'True' }] })).toEqual([]);
    expect(await issued(undefined, 'theirs')).toEqual([]);
    expect(await checkIssued(cluster({}))).toEqual([]);
  });

  it('that are not ready say why, without what a terminal would obey', async () => {
    const message = 'Issuing certificate as Secret does not exist\u001b[2J';
    expect(await issued({ conditions: [{ type: 'Ready', status: 'False', message }] })).toEqual([
      'cert-manager has not issued the certificate meshpass-edge: Issuing certificate as Secret does not exist\ufffd[2J.',
    ]);
    expect(await issued(undefined)).toEqual([
      'cert-manager has not issued the certificate meshpass-edge: nothing has looked at it: cert-manager does not run.',
    ]);
  });
});

describe('the right to create Secrets', () => {
  const ROLE = '/apis/rbac.authorization.k8s.io/v1/namespaces/mine/roles/meshpass-keys';
  const JOB = '/apis/batch/v1/namespaces/mine/jobs/meshpass-keys';

  it('is a warning where it was left behind, with the command that removes it', async () => {
    for (const job of [{}, { [JOB]: { status: { failed: 5 } } }])
      expect(await checkLeftovers(cluster({ [ROLE]: {}, ...job }))).toMatchObject([
        {
          ...{ check: 'rights', state: 'warning' },
          command: 'kubectl -n mine delete --ignore-not-found job,rolebinding,role,serviceaccount meshpass-keys',
        },
      ]);
  });

  it('is none where it is not there, or keys are being made', async () => {
    expect(await checkLeftovers(cluster({}))).toEqual([]);
    expect(await checkLeftovers(cluster({ [ROLE]: {}, [JOB]: { status: { active: 1 } } }))).toEqual([]);
  });
});
