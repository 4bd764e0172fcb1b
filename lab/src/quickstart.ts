/**
 * `npm run quickstart`: a Codespace's whole life on a real mesh, step by step. Every printed line comes from
 * what just happened; a step that fails ends the run with exit code 1.
 *
 *   --keep        leave everything running and say what to try
 *   --name NAME   lab to use (default: $MESHPASS_LAB, or "quick")
 *   --deny-ended  ended sessions that the broker also denies in the mesh
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Lab, upLab } from './lab.ts';
import { codespaceEnvironment, startMeshpass } from './meshpass.ts';
import { auditTrail } from './quickstart/audit-trail.ts';
import { type OpenCodespace, openCodespace } from './quickstart/codespace.ts';
import { firstCalls } from './quickstart/first-calls.ts';
import { firstLook } from './quickstart/first-look.ts';
import { accessWithOperator } from './quickstart/operator.ts';
import { type QuickstartOptions, quickstartOptions, USAGE } from './quickstart/options.ts';
import { refusals } from './quickstart/refusals.ts';
import { routes } from './quickstart/routes.ts';
import type { Scene } from './quickstart/scene.ts';
import { stop } from './quickstart/stop.ts';
import { type Story, tellStory } from './quickstart/story.ts';
import { standIns } from './stand-ins.ts';

const values = quickstartOptions(process.argv.slice(2), process.env);
if ('problem' in values) {
  console.error(`${values.problem}\n\n${USAGE}`);
  process.exitCode = 2;
} else if (values.help) console.log(USAGE);
else process.exitCode = await tellStory((story) => quickstart(story, values));

async function quickstart(story: Story, values: QuickstartOptions): Promise<void> {
  // The first time it takes minutes to build: parts without a mesh are shown in the meantime.
  let show: (line: string) => void = () => {};
  const starting = upLab({ name: values.name, keep: values.keep, progress: (line) => show(line) });
  starting.catch(() => {}); // awaited below
  try {
    await firstLook(story);
    await onAMesh(story, values, (progress) => {
      show = progress;
      return starting;
    });
  } finally {
    const lab = values.keep ? undefined : await starting.catch(() => undefined);
    if (lab) await story.busy('taking the lab down', () => lab.down());
  }
}

async function onAMesh(
  story: Story,
  values: QuickstartOptions,
  start: (progress: (line: string) => void) => Promise<Lab>,
): Promise<void> {
  story.chapter('A mesh', 'real Kubernetes API, istiod and Envoy sidecars; one network namespace a host');
  const lab = await story.busy('starting', start);
  const { kubernetes, istio, envoy } = lab.versions;
  story.done(`Kubernetes ${kubernetes}, Istio ${istio}, Envoy ${envoy}: orders.shop, ledger-db.shop, web.dev`);
  story.aside('GitHub and the identity providers are stand-ins: a lab cannot reach the real ones.');
  const meshpass = await story.busy('starting broker and edge', (progress) =>
    startMeshpass(lab, {
      accessFile: accessWithOperator(lab),
      flags: ['--deny-ended', values.denyEnded],
      progress,
    }),
  );
  story.done('Meshpass: broker and edge run with the rights that the chart gives them, the access file is in force');

  const players = standIns(lab);
  await players.github.reset();
  const scene = { lab, meshpass, ...players, story };
  const codespace = await openCodespace(scene);
  await firstCalls(scene, codespace);
  await routes(scene);
  await refusals(scene);
  if (values.keep) return keepRunning(scene, codespace, values.name);
  await auditTrail(scene, await stop(scene, codespace, values.denyEnded));
}

function keepRunning({ lab, meshpass, story }: Scene, { codespace }: OpenCodespace, name: string): void {
  const inWorkspace = `npm run lab -- exec workspace --name ${name} --`;
  // Environment that GitHub sets in a Codespace, so that a reader can try `meshpass up` and `doctor` by hand.
  const environment = join(lab.dir, 'codespace.env');
  const lines = Object.entries(codespaceEnvironment(lab, meshpass, codespace)).map(
    ([key, value]) => `export ${key}='${value}'\n`,
  );
  writeFileSync(environment, lines.join(''), { mode: 0o600 });
  const inCodespace = (command: string) => `${inWorkspace} bash -c '. ${environment}; ${command}'`;
  story.chapter('Yours', 'everything is left running');
  story.lines([
    `${inWorkspace} curl http://orders.shop:8080/orders/7`,
    `${inWorkspace} curl -i http://orders.shop:8080/admin/users`,
    `${inWorkspace} psql -h ledger-db.shop -U ledger ledger -c "select * from ledger"`,
    `${inWorkspace} meshpass status`,
    `${inWorkspace} meshpass explain --last`,
    `${inWorkspace} meshpass explain http://orders.shop:8080/orders/7 --method DELETE`,
    `${inWorkspace} meshpass token --audience sts.amazonaws.com`,
    `${inWorkspace} meshpass down`,
    inCodespace('meshpass doctor'),
    inCodespace('meshpass up'),
    `npm run lab -- status --name ${name}`,
    `npm run lab -- logs meshpass --name ${name}`,
    `npm run lab -- down --name ${name}      takes it all down`,
  ]);
}
