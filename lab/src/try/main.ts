/**
 * `npm run try`: a lab with Meshpass and two Codespaces, of alice and bob, in which operators, sign-in, approvals and kubectl can be tried
 * (lab/try.md). It is left running. `-- --name NAME` selects the lab, as MESHPASS_LAB does.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureKubectl } from '../install/tools.ts';
import { type Lab, labName, upLab } from '../lab.ts';
import { codespaceEnvironment, type Meshpass, startMeshpass } from '../meshpass.ts';
import { routeToIdp } from '../network/route-to-idp.ts';
import { standIns } from '../stand-ins.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const progress = (line: string): unknown => process.stderr.write(`${line}\n`);

const { values } = parseArgs({ options: { name: { type: 'string', default: labName() } } });
const WORKSPACES = { alice: 'workspace', bob: 'workspace-2' } as const;

const kubectl = await ensureKubectl(progress);
const lab = await upLab({ name: values.name, with: ['workspace-2'], keep: true, progress });
const { github } = standIns(lab);
await github.reset();
const meshpass = await startMeshpass(lab, { accessFile: here('./access.yaml'), kubernetes: true, progress });
await routeToIdp(lab, Object.values(WORKSPACES));
for (const [owner, host] of Object.entries(WORKSPACES)) {
  progress(`meshpass up in the Codespace of ${owner}`);
  const codespace = await github.createCodespace({ owner, repository: 'acme/payments-api', host });
  const env = codespaceEnvironment(lab, meshpass, codespace);
  const { code, stdout, stderr } = await lab.exec(host, ['meshpass', 'up'], { env });
  if (code !== 0) throw new Error(`meshpass up of ${owner}: ${stderr}${stdout}`);
}
const file = join(lab.dir, 'try.sh');
writeFileSync(file, functions(lab, meshpass), { mode: 0o600 });
console.log(
  `Everything runs. Now, as lab/try.md says:\n\n    . ${file}\n\n    npm run lab -- down --name ${lab.name}      takes it all down`,
);

/** Shell functions for the four places at which a person of the lab is. */
function functions({ dir, name }: Lab, { operatorUrl }: Meshpass): string {
  const programs = join(dir, 'try');
  mkdirSync(programs, { recursive: true });
  const browse = `'${process.execPath}' '${here('./browse.ts')}'`;
  writeFileSync(join(programs, 'xdg-open'), `#!/bin/sh\nexec ${browse} "$PERSON" "$1"\n`, { mode: 0o755 });
  const on = (host: string) => `'${process.execPath}' '${here('../main.ts')}' exec ${host} --name ${name} --`;
  const withPath = (path: string) => `sh -c 'PATH="${path}:$PATH"; exec "$@"' sh`;
  const machine = `env PERSON="$1" MESHPASS_OPERATOR=${operatorUrl} MESHPASS_STATE_DIR='${programs}'/"$1"`;
  const workspaces = Object.entries(WORKSPACES).map(
    ([person, host]) => `${person}() { ${on(host)} ${withPath(dirname(kubectl))} "$@"; }`,
  );
  return [
    '# In the Codespace of alice, or bob: alice meshpass status',
    ...workspaces,
    "# On an operator's own machine: operator 00u2bob meshpass login",
    `operator() { ${on('meshpass')} ${machine} ${withPath(programs)} "\${@:2}"; }`,
    '# In the browser of somebody: browser 00u1alice URL',
    `browser() { ${on('meshpass')} ${browse} "$1" "$2"; }`,
    '',
  ].join('\n');
}
