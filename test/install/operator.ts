/**
 * Machine of an operator who follows the install page: a folder, and the commands `kubectl`, `helm` and `meshpass`. This file has all that the
 * test adds to the page: addresses of GitHub, source of the chart, and values that only a lab needs.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { stringify } from 'yaml';
import { atGithub, installApp } from './browser.ts';

export interface Operator {
  write(name: string, text: string): void;
  /**
   * Runs commands of the page by bash, and stops at the first that fails.
   * @param exit expected exit code, 0 by default
   * @returns the output of the commands, without what client-go logs on connections that break
   * @throws Error with that output
   */
  run(script: string, exit?: number): Promise<string>;
  /** Runs it in another terminal, replacing its process. @returns once it prints something @throws Error if it ends before */
  beside(script: string): Promise<void>;
  close(): Promise<void>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CHART = join(ROOT, 'deploy/helm/meshpass');
const PUBLISHED_CHART = 'oci://ghcr.io/meshpass/charts/meshpass';
export const GITHUB = 'https://api.github.test';
/** A line in klog's format: severity, month and day, time. */
const KLOG = /^[IWEF]\d{4} \d\d:\d\d:\d\d\..*\n/gm;
const CHECKED_PAGE = /^Open in a browser on this machine: (http:\/\/127\.0\.0\.1:\S+)$/m;

/** @param labValues additional values of the lab */
export async function operatorOf(cluster: Cluster, labValues: object = LAB_VALUES): Promise<Operator> {
  const folder = mkdtempSync(join(tmpdir(), 'meshpass-operator-'));
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const command = (name: string, body: string) => {
    writeFileSync(join(bin, name), `#!/bin/bash\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  writeFileSync(join(folder, 'lab-values.yaml'), stringify(labValues));
  symlinkSync(ROOT, join(folder, 'meshpass'));
  command('kubectl', `exec '${cluster.binaries.kubectl}' "$@"`);
  command('meshpass', `exec '${join(ROOT, `dist/meshpass-linux-${process.arch}/meshpass`)}' "$@"`);
  command('helm', helmOfTheLab(cluster.binaries.helm, join(folder, 'lab-values.yaml')));
  for (const name of ['broker', 'edge']) await certificate(cluster, folder, name);
  const env = {
    ...cluster.environment(),
    PATH: `${bin}:${process.env.PATH}`,
    MESHPASS_GITHUB_WEB: GITHUB,
    MESHPASS_GITHUB_API: GITHUB,
    NODE_EXTRA_CA_CERTS: cluster.testCa,
    MESHPASS_STATE_DIR: join(folder, 'state'),
  };
  let stopBeside = async () => {};

  const run = (script: string, exit = 0): Promise<string> =>
    new Promise((resolve, reject) => {
      const child = cluster.spawn('operator', ['bash', '--norc', '-euo', 'pipefail', '-c', script], {
        env,
        cwd: folder,
      });
      let printed = '';
      let browsing: Promise<void> | undefined;
      const take = (chunk: Buffer) => {
        printed += chunk;
        const page = CHECKED_PAGE.exec(printed)?.[1];
        if (page !== undefined) browsing ??= atGithub(cluster, page);
      };
      child.stdout?.on('data', take);
      child.stderr?.on('data', take);
      child.once('error', reject);
      child.once('close', (code) => {
        const outcome = code === exit ? undefined : new Error(`exit code ${code} of\n${script}\n${printed}`);
        Promise.resolve(browsing?.then(() => installApp(cluster))).then(
          () => (outcome ? reject(outcome) : resolve(printed.replaceAll(KLOG, ''))),
          reject,
        );
      });
    });
  return {
    write: (name, text) => {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), text);
    },
    run,
    beside: async (script) => {
      await stopBeside();
      // Runs as one process, so that ending it ends the command.
      const child = cluster.spawn('operator', ['bash', '--norc', '-euo', 'pipefail', '-c', `exec ${script}`], {
        env,
        cwd: folder,
      });
      const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
      stopBeside = async () => {
        child.kill();
        await ended;
      };
      await new Promise<void>((resolve, reject) => {
        let said = '';
        child.stderr?.on('data', (chunk: Buffer) => (said += chunk));
        child.stdout?.once('data', () => resolve());
        child.once('error', reject);
        child.once('close', () => reject(new Error(`it ended: ${script}\n${said}`)));
      });
    },
    close: async () => {
      await stopBeside();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A stand-in plays GitHub, the CA of the `.test` names signed the certificates, the image was loaded, and the node is small. */
const requests = { requests: { cpu: '10m', memory: '64Mi' } };
const named = (name: string) => ({
  annotations: { 'external-dns.alpha.kubernetes.io/hostname': `${name}.example.com` },
});
const LAB_VALUES = {
  broker: { service: named('broker'), resources: requests },
  edge: { service: named('edge'), resources: requests },
  gateway: { resources: requests },
  github: { api: GITHUB },
  certificates: { trust: { configMap: 'lab-ca' } },
  image: { repository: 'ghcr.io/meshpass/meshpass' },
};

/** No registry can be reached, so the published chart, which other pages name, is the one of this repository. */
function helmOfTheLab(helm: string, values: string): string {
  return `args=()
for one in "$@"; do [ "$one" = '${PUBLISHED_CHART}' ] && one='${CHART}'; args+=("$one"); done
case $1 in install|upgrade|template) args+=(--values '${values}') ;; esac
exec '${helm}' "\${args[@]}"`;
}

/** Placeholder of the page for a certificate of each name. */
async function certificate(cluster: Cluster, folder: string, name: string): Promise<void> {
  const host = `${name}.example.com`;
  const ca = ['-CA', join(cluster.dir, 'tls/ca.crt'), '-CAkey', join(cluster.dir, 'tls/ca.key')];
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    join(folder, `${name}.key`),
  ];
  const subject = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
  const out = ['-addext', 'basicConstraints=critical,CA:FALSE', '-days', '30', '-out', join(folder, `${name}.crt`)];
  await must(['openssl', 'req', '-x509', ...key, ...subject, ...ca, ...out], 'lab_install');
}
