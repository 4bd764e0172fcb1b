/** Findings of `meshpass check` about Deployments that do not run, Certificates, and the leftovers of an interrupted installation. */
import { MeshpassError } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { checkIssuedCertificates } from '../../src/check/certificates.ts';
import type { CheckContext } from '../../src/check/context.ts';
import { checkLeftovers } from '../../src/check/rights.ts';
import { checkWorkloads } from '../../src/check/workloads.ts';

/** @param objects answers of the API server, by path; it answers 404 for all others */
const cluster = (objects: Readonly<Record<string, unknown>>): CheckContext => ({
  http: {
    call: async ({ path }) => ({ status: objects[path] === undefined ? 404 : 200, body: objects[path] ?? {} }),
  },
  namespace: 'mine',
  rootNamespace: 'istio-system',
  istiod: 'istiod',
  gitops: false,
  now: Date.now,
  gateway: { namespace: 'mine', labels: { istio: 'meshpass-gateway' }, port: 15443 },
});
const deployment = (part: string, replicas: number, readyReplicas?: number) => ({
  [`/apis/apps/v1/namespaces/mine/deployments/meshpass-${part}`]: {
    metadata: { name: `meshpass-${part}` },
    spec: { replicas },
    status: { readyReplicas },
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

  it('that do not exist, and that are scaled to 0, have different findings', async () => {
    const findings = await checkWorkloads(cluster({ ...deployment('broker', 1, 1), ...deployment('edge', 0) }));
    expect(findings.map(({ says }) => says)).toEqual([
      'meshpass-broker: 1 of 1 ready.',
      'meshpass-edge is scaled to 0, so no Pod runs.',
      'Deployment meshpass-gateway does not exist in mine.',
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
  ])('report what keeps their Pods from running: %s', async (what, pods, says) => {
    const message = 'MountVolume.SetUp failed for volume "tls" : secret "meshpass-edge-tls" not found';
    const events = { items: what.includes('Secret') ? [{ message, lastTimestamp: new Date().toISOString() }] : [] };
    const objects = { ...RUNNING, ...deployment('edge', 2), [PODS]: pods, [EVENTS]: events };
    const finding = (await checkWorkloads(cluster(objects)))[1]!;
    expect(finding.state).toBe('failed');
    expect(finding.says).toMatch(new RegExp(`${says.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`));
  });
});

describe('an event about a Secret that was not found', () => {
  const at = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
  const event = (message: string, minutes = 1) => ({ message, lastTimestamp: at(minutes) });
  const notFound = (name: string) => `MountVolume.SetUp failed for volume "x" : secret "${name}" not found`;
  const SECRETS = '/api/v1/namespaces/mine/secrets';
  const said = async (status: object, events: readonly object[], there: Readonly<Record<string, unknown>> = {}) => {
    const base = { ...RUNNING, ...deployment('edge', 2), [PODS]: pod(status), [EVENTS]: { items: events } };
    return (await checkWorkloads(cluster({ ...base, ...there })))[1]!.says;
  };
  const creating = waiting('ContainerCreating');
  const SECRET = { [`${SECRETS}/edge-tls`]: { metadata: { name: 'edge-tls' } } };

  it('is not repeated once the Secret exists', async () => {
    expect(await said(creating, [event(notFound('edge-tls'))], SECRET)).toBe('meshpass-edge: 0 of 2 ready.');
  });

  it('does not hide other missing Secrets, or a missing key in it', async () => {
    const both = [event(notFound('edge-tls')), event(notFound('keys'), 2)];
    expect(await said(creating, both, SECRET)).toBe('meshpass-edge: 0 of 2 ready; secret "keys" not found.');
    const key = 'MountVolume.SetUp failed for volume "tls" : references non-existent secret key: tls.crt';
    const later = [event(notFound('edge-tls'), 3), event(key)];
    expect(await said(creating, later, SECRET)).toMatch(/; references non-existent secret key: tls\.crt\.$/);
  });

  it('does not hide why a container that has started is not ready', async () => {
    const crashed = { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode: 1 } } };
    const events = [event(notFound('edge-tls'))];
    expect(await said({ containerStatuses: [crashed] }, events)).toBe('meshpass-edge: 0 of 2 ready; CrashLoopBackOff.');
  });

  it.each([
    [1, 'meshpass-edge: 0 of 2 ready; secret "edge-tls" not found.'],
    [30, 'meshpass-edge: 0 of 2 ready.'],
  ])('is believed while it is new, if the API server forbids reading the Secret: %i min', async (minutes, says) => {
    const objects = { ...RUNNING, ...deployment('edge', 2), [PODS]: pod(creating) };
    const { http, ...context } = cluster({ ...objects, [EVENTS]: { items: [event(notFound('edge-tls'), minutes)] } });
    const call: typeof http.call = async (asked) => {
      if (asked.path.startsWith(SECRETS))
        throw new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 403 } });
      return await http.call(asked);
    };
    expect((await checkWorkloads({ ...context, http: { call } }))[1]!.says).toBe(says);
  });
});

describe('Deployments with Pods or events that may not be read', () => {
  it.each([
    ['Pods', PODS],
    ['events', EVENTS],
  ])('are still reported as not ready: %s', async (_, forbidden) => {
    const { http, ...context } = cluster({
      ...RUNNING,
      ...deployment('edge', 2),
      [PODS]: pod(waiting('ContainerCreating')),
      [EVENTS]: { items: [] },
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

  it('and are not ready lead to their log, because no event has the reason', async () => {
    expect(await finding({ ready: false, state: { running: {} } })).toMatchObject({
      state: 'failed',
      says: 'meshpass-edge: 0 of 2 ready.',
      next: 'Check its log.',
      command: LOG,
    });
  });

  it('and have ended are reported with their last log line', async () => {
    const message = '{"a":1}\nmeshpass: Cannot extend the audit log. [audit_log_behind]\n{"level":"info"}\n';
    const lastState = { terminated: { exitCode: 1, message } };
    for (const state of [{ waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } }, { running: {} }])
      expect(await finding({ ready: false, state, lastState })).toMatchObject({
        says: 'meshpass-edge: 0 of 2 ready; meshpass: Cannot extend the audit log. [audit_log_behind].',
        command: LOG,
      });
  });

  it('and have ended without a readable message lead to their log', async () => {
    const state = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } };
    const lastState = { terminated: { exitCode: 137, message: '{"level":"info"}' } };
    expect(await finding({ ready: false, state, lastState })).toMatchObject({
      says: 'meshpass-edge: 0 of 2 ready; back-off 40s.',
      command: LOG,
    });
  });
});

describe('Certificates of cert-manager', () => {
  const PATH = '/apis/cert-manager.io/v1/namespaces/mine/certificates';
  const issued = async (status: object | undefined, name = 'meshpass-edge') =>
    (await checkIssuedCertificates(cluster({ [PATH]: { items: [{ metadata: { name }, status }] } }))).map(
      ({ says }) => says,
    );

  it('that are ready, not ours, or not used, cause no finding', async () => {
    expect(await issued({ conditions: [{ type: 'Ready', status: 'True' }] })).toEqual([]);
    expect(await issued(undefined, 'theirs')).toEqual([]);
    expect(await checkIssuedCertificates(cluster({}))).toEqual([]);
  });

  it('that are not ready report the reason, without control characters', async () => {
    const message = 'Issuing certificate as Secret does not exist\u001b[2J';
    expect(await issued({ conditions: [{ type: 'Ready', status: 'False', message }] })).toEqual([
      'cert-manager has not issued the certificate meshpass-edge: Issuing certificate as Secret does not exist\ufffd[2J.',
    ]);
    expect(await issued(undefined)).toEqual([
      'cert-manager has not issued the certificate meshpass-edge: it has no status, because cert-manager is not running.',
    ]);
  });
});

describe('the right to create Secrets', () => {
  const ROLE = '/apis/rbac.authorization.k8s.io/v1/namespaces/mine/roles/meshpass-keys';
  const JOB = '/apis/batch/v1/namespaces/mine/jobs/meshpass-keys';

  it('is a warning if it was left behind, with the command that removes it', async () => {
    for (const job of [{}, { [JOB]: { status: { failed: 5 } } }])
      expect(await checkLeftovers(cluster({ [ROLE]: {}, ...job }))).toMatchObject({
        state: 'warning',
        command: 'kubectl -n mine delete --ignore-not-found job,rolebinding,role,serviceaccount meshpass-keys',
      });
  });

  it('is no warning if it does not exist, or keys are being made', async () => {
    expect(await checkLeftovers(cluster({}))).toEqual([]);
    expect(await checkLeftovers(cluster({ [ROLE]: {}, [JOB]: { status: { active: 1 } } }))).toEqual([]);
  });
});
