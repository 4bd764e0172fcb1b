/**
 * docs/install/upgrade.md on a real cluster: the version before is installed with its own chart and image, upgraded to this one, taken back and
 * upgraded again, while a Codespace and Pods call a service all the time; and agents of both versions meet brokers and edges of both.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VERSION } from '@meshpass/identity';
import { cacheFolder } from '@meshpass/lab/install/tools';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Traffic, watchTraffic } from '../install/traffic.ts';
import { type Developer, developerOf } from './developer.ts';
import { withoutGatewayEnds } from './in-use.ts';
import { type ClusterWithImage, clusterWithImage, IN, SOON } from './on-cluster.ts';
import { type PreviousVersion, previousIsThere, previousVersion, REPOSITORY, renameImage } from './previous-version.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const IMAGES = 'jsonpath={.items[*].spec.template.spec.containers[0].image}';
/** Tag of the same image, which is another one for Kubernetes. */
const AGAIN = 'again';
/** Values that a team changes while people work, all at once. */
const OTHER_VALUES = {
  logLevel: 'debug',
  broker: { replicas: 3, extraArgs: ['--heartbeat=14'] },
  edge: { autoscaling: { minReplicas: 3, maxReplicas: 4, targetCPU: 80 }, extraArgs: ['--stale=500'] },
  gateway: { replicas: 3, resources: { requests: { cpu: '11m', memory: '65Mi' } } },
};
/** Access file without operators. */
const WITHOUT_OPERATORS = { access: { content: readFileSync(join(ROOT, 'lab/samples/access.yaml'), 'utf8') } };
const WITH_TOKEN = { ...WITHOUT_OPERATORS, breakGlass: { enabled: true } };

if (!previousIsThere()) it.skip('needs the commit of the version before in this clone', () => {});
else
  describe('the version before', { timeout: 600_000 }, () => {
    let on: ClusterWithImage;
    let previous: PreviousVersion;
    let traffic: Traffic;
    let before: Developer;
    let now: Developer | undefined;

    beforeAll(async () => {
      const began = performance.now();
      previous = await previousVersion();
      console.log(`the version before was ready after ${seconds(began)}`);
      on = await clusterWithImage();
      await on.cluster.load(previous.image);
      const again = join(cacheFolder(), `again-${process.pid}.oci.tar`);
      renameImage(join(ROOT, `dist/image/meshpass-linux-${process.arch}.oci.tar`), AGAIN, again);
      await on.cluster.load(again);
      await on.prepareNamespace();
      await on.install({ ...WITH_TOKEN, image: { tag: previous.tag } }, previous.chart);
      traffic = await watchTraffic(on.cluster);
      before = await developerOf(on.cluster, previous.command);
    });
    afterAll(async () => {
      await now?.close();
      await before?.close();
      await traffic?.stop();
      await on?.remove();
    });

    /**
     * Runs `work` while both callers of a Codespace continue; its session is the same afterwards.
     * @returns calls that failed otherwise than by the end of a mesh gateway
     */
    const under = async (developer: Developer, name: string, work: () => Promise<unknown>) => {
      const session = await developer.session();
      const began = performance.now();
      const { calls, failed } = await developer.during(work);
      console.log(`${name}: ${calls} calls in ${seconds(began)}, ${failed.length} failed\n${failed.join('\n')}`);
      expect(await developer.session()).toBe(session);
      return await withoutGatewayEnds(on, failed);
    };
    /** Version that brokers and edges must run; `--wait` has waited until they do. */
    const images = async () => {
      const deployments = ['get', 'deployments', 'meshpass-broker', 'meshpass-edge', '-o', IMAGES];
      return [...new Set((await on.kubectl(...IN, ...deployments)).split(' '))];
    };
    const rollback = (revision: number) =>
      on.helm(undefined, 'rollback', 'meshpass', String(revision), ...IN, '--wait', '--timeout', '8m');
    /** Enrols, calls, is refused, reports that, and ends. */
    const life = async (developer: Developer) => {
      await developer.meshpass('down');
      await developer.up();
      const session = await developer.session();
      expect(await developer.call('/admin/users')).toMatch(/^403 /);
      const actions = async () => {
        const tail = ['audit', 'tail', '--session', session, '--output', 'json'];
        const rows = await on.kubectl(...IN, 'exec', await on.active(), '--', 'meshpass', ...tail);
        return rows
          .trim()
          .split('\n')
          .map((row) => JSON.parse(row) as { action: string; outcome: string });
      };
      const refusal = expect.objectContaining({ action: 'request', outcome: 'refused' });
      await vi.waitFor(async () => expect(await actions()).toContainEqual(refusal), SOON);
      expect(await developer.meshpass('down')).toMatchObject({ code: 0 });
      expect((await actions()).map(({ action }) => action)).toEqual(
        expect.arrayContaining(['session.open', 'tunnel', 'session.close']),
      );
    };

    it('is not upgraded to a version without operators', async () => {
      await expect(on.install(WITHOUT_OPERATORS)).rejects.toThrow('Set breakGlass.enabled: true for this upgrade');
      expect(await images()).toEqual([`${REPOSITORY}:${previous.tag}`]);
    });

    it('is upgraded: sessions continue, and no call fails', async () => {
      expect(await under(before, 'from the version before', () => on.install(WITH_TOKEN))).toEqual([]);
      expect(await images()).toEqual([`${REPOSITORY}:${VERSION}`]);
      expect(await on.helm(undefined, 'test', 'meshpass', ...IN)).toContain('Phase:          Succeeded');
    });

    it('has an agent that enrols, calls, is refused and ends with this version', async () => {
      await life(before);
    });

    it('no call fails while this version gets another image and other values', async () => {
      now = await developerOf(on.cluster);
      const work = () => on.install({ ...WITH_TOKEN, ...OTHER_VALUES, image: { tag: AGAIN } });
      expect(await under(now, 'this version with other values', work)).toEqual([]);
      expect(await images()).toEqual([`${REPOSITORY}:${AGAIN}`]);
    });

    it('returns by a rollback: sessions of newer agents continue', async () => {
      expect(await under(now!, 'back to the version before', () => rollback(1))).toEqual([]);
      expect(await images()).toEqual([`${REPOSITORY}:${previous.tag}`]);
    });

    it('accepts agents of this version: they enrol, call, are refused and end', async () => {
      await life(now!);
    });

    it('is upgraded again', async () => {
      await now!.up();
      expect(await under(now!, 'from the version before, again', () => on.install(WITH_TOKEN))).toEqual([]);
    });

    it('a broker that a migration left behind reports that and ends, and the active one stays', async () => {
      const active = await on.active();
      const beyond = '999-later.compatible-with-999';
      await on.sql(`insert into kysely_migration values ('${beyond}', '2026-01-01T00:00:00Z')`);
      const only = ['-l', 'app.kubernetes.io/component=broker,meshpass.dev/active!=true'];
      await on.kubectl(...IN, 'delete', 'pod', ...only);
      await vi.waitFor(async () => {
        const said = await on.kubectl(...IN, 'logs', ...only, '--tail=5');
        expect(said).toContain('store_newer');
        expect(said).toContain(beyond);
      }, SOON);
      expect(await on.active()).toBe(active);
      expect(await now!.call()).toMatch(/^200 /);
      await on.sql(`delete from kysely_migration where name = '${beyond}'`);
      await on.kubectl(...IN, 'rollout', 'status', 'deployment/meshpass-broker', '--timeout=120s');
    });

    it('and all the while Pods called each other as before', async () => {
      expect(await traffic.stop()).toEqual({ calls: expect.any(Number), otherwise: [] });
    });
  });

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(0)} s`;
}
