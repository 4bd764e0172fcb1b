/** The internet of the lab has no identity provider: the broker's host, which is on both networks, leads to it as a router does. */
import { readFileSync, writeFileSync } from 'node:fs';
import { LabError } from '../error.ts';
import type { Hosts } from '../hosts.ts';
import { INTERNET } from '../plan.ts';

/**
 * Lets workspaces reach `idp.test`, as they reach a provider on the internet, for the device flow.
 * @returns what takes it back
 * @throws LabError `lab_start`
 */
export async function routeToIdp(
  lab: Hosts,
  workspaces: readonly string[] = ['workspace'],
): Promise<() => Promise<void>> {
  const { github, meshpass } = lab.hosts;
  const must = async (host: string, ...argv: string[]) => {
    const { code, stderr } = await lab.exec(host, argv);
    if (code !== 0) throw new LabError('lab_start', `${argv.join(' ')} on ${host}: ${stderr}`);
  };
  const forward = (on: 0 | 1) => must('meshpass', 'sh', '-c', `echo ${on} > /proc/sys/net/ipv4/ip_forward`);
  const name = `${github!.ip} idp.test\n`;
  const files = workspaces.map((host) => `/etc/netns/${lab.hosts[host]!.netns}/hosts`);
  await forward(1);
  for (const host of workspaces) {
    await must(host, 'ip', 'route', 'replace', `${github!.ip}/32`, 'via', INTERNET.meshpass);
    await must('github', 'ip', 'route', 'replace', `${lab.hosts[host]!.ip}/32`, 'via', meshpass!.ip);
  }
  for (const file of files) {
    const names = readFileSync(file, 'utf8');
    if (!names.includes(name)) writeFileSync(file, names + name);
  }
  return async () => {
    for (const file of files) writeFileSync(file, readFileSync(file, 'utf8').replaceAll(name, ''));
    for (const host of workspaces) {
      await must(host, 'ip', 'route', 'del', `${github!.ip}/32`);
      await must('github', 'ip', 'route', 'del', `${lab.hosts[host]!.ip}/32`);
    }
    await forward(0);
  };
}
