/** A dev container with the Feature, from its start to its end, in the lab: as Codespaces create, stop, resume and prebuild it. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Container, startContainer } from '@meshpass/lab/devcontainer/container';
import { copyDebianRoot, installFeature, REMOTE_USER } from '@meshpass/lab/devcontainer/root';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type PreparedFeature, prepareFeature } from '../../bench/feature/prepare.ts';
import { ANSWER, asNew, CALL, type Started, startToFirstAnswer } from '../../bench/feature/start.ts';
import { type DataPath, openDataPath, until } from '../mesh.ts';

let feature: PreparedFeature;
let dataPath: DataPath;
let work: string;
/** Prepared as a prebuild leaves it: installed, never started. */
let root: string;
let containers: Container[];

beforeAll(async () => {
  feature = await prepareFeature();
  dataPath = await openDataPath();
  work = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));
  root = join(work, 'bookworm');
  await copyDebianRoot('bookworm', root);
  const options = { BROKER: dataPath.meshpass.brokerUrl, MIRROR: feature.mirror };
  expect(await installFeature(root, feature.folder, options)).toMatchObject({ code: 0 });
});
afterAll(async () => {
  feature?.close();
  if (work) rmSync(work, { recursive: true, force: true });
  await dataPath?.close();
});
beforeEach(() => {
  containers = [];
  asNew(root);
});
afterEach(async () => {
  for (const container of containers) await container.stop();
});

const start = async (codespace: { readonly name: string; readonly token: string }): Promise<Started> => {
  const started = await startToFirstAnswer(dataPath.lab, feature, root, codespace);
  containers.push(started.container);
  return started;
};

const startWithoutAgent = async (): Promise<Container> => {
  const container = await startContainer(dataPath.lab, 'workspace', root, feature.entrypoint);
  containers.push(container);
  return container;
};

/** Sessions of one Codespace that were opened and ended, in their order. */
const actionsOf = async ({ id }: { readonly id: number }): Promise<readonly string[]> =>
  (await dataPath.audit())
    .filter(({ workspace, outcome }) => workspace === `codespace:${id}` && outcome !== 'refused')
    .map(({ action }) => action)
    .filter((action) => action === 'session.open' || action === 'session.close');

describe('a dev container with the Feature', () => {
  it('joins the mesh when it starts, as the remote user, and calls by name without sudo', async () => {
    const { said, container, env } = await start(await dataPath.codespace());
    expect(said).toContain('orders.shop');
    // No command of the image had to be changed: a shell calls by name.
    expect(await container.exec(['/bin/sh', '-c', CALL.join(' ')], env)).toMatchObject({
      code: 0,
      stdout: `${ANSWER}\n`,
    });
    expect(await container.exec(['meshpass', 'status'], env)).toMatchObject({ code: 0 });
    expect(statSync(join(root, 'etc/hosts')).uid).toBe(REMOTE_USER.uid);
  });

  it('says goodbye when it is stopped: the session ends before the container', async () => {
    const codespace = await dataPath.codespace();
    const { container } = await start(codespace);
    await container.stop();
    expect(await actionsOf(codespace)).toEqual(['session.open', 'session.close']);
    expect(container.processes()).toEqual([]);
    expect(readFileSync(join(root, 'etc/hosts'), 'utf8')).not.toContain('meshpass begin');
  });

  it('starts again at every resume, with a session of its own', async () => {
    const codespace = await dataPath.codespace();
    await (await start(codespace)).container.stop();
    await start(codespace);
    expect(await actionsOf(codespace)).toEqual(['session.open', 'session.close', 'session.open']);
  });

  it('does not disturb an agent that runs, when postStartCommand runs again', async () => {
    const codespace = await dataPath.codespace();
    const { container, env } = await start(codespace);
    expect(await container.exec([feature.postStartCommand], env)).toMatchObject({ code: 0 });
    expect(await container.exec(CALL, env)).toMatchObject({ stdout: expect.stringContaining(ANSWER) });
    expect(await actionsOf(codespace)).toEqual(['session.open']);
  });

  it('enrols no session in a prebuild, whichever of its commands run there', async () => {
    const codespace = await dataPath.codespace();
    const container = await startWithoutAgent();
    const env = {
      CODESPACES: 'true',
      CODESPACE_NAME: codespace.name,
      GITHUB_TOKEN: codespace.token,
      ACTIONS_ID_TOKEN_REQUEST_URL: 'https://token.actions.test',
    };
    const started = await container.exec([feature.postStartCommand], env);
    expect(started).toMatchObject({ code: 0, stdout: expect.stringContaining('this is a prebuild') });
    expect(await container.exec(['meshpass', 'up'], env)).toMatchObject({
      stderr: expect.stringContaining('agent_prebuild'),
    });
    expect(await actionsOf(codespace)).toEqual([]);
    expect(existsSync(join(root, REMOTE_USER.home, '.meshpass', 'agent.sock'))).toBe(false);
  });

  it('ends at once if no agent runs', async () => {
    const container = await startWithoutAgent();
    const begin = performance.now();
    await container.stop();
    // Without an agent nothing is waited for, which would be five seconds.
    expect(performance.now() - begin).toBeLessThan(4_000);
  });

  it('leaves the end to the lease if the container is killed', async () => {
    const codespace = await dataPath.codespace();
    const { container } = await start(codespace);
    for (const pid of container.processes().slice(0, 1)) process.kill(pid, 'SIGKILL');
    await until(
      () => container.processes(),
      (left) => left.length === 0,
    );
    expect(await actionsOf(codespace)).toEqual(['session.open']);
  });
});
