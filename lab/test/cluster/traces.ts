/** Traces that a cluster could leave on a machine, as a sorted list: equal lists before and after mean that nothing is left. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';

/** The kubelet would set these for the whole machine. */
const SETTINGS = ['vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops', 'net/ipv4/ip_forward'];

/**
 * Labs come and go, and so do other clusters: their links and namespaces do not count.
 * @param name of the cluster
 */
export function tracesOf(name: string): string[] {
  const of = (what: string, lines: readonly string[]): string[] => lines.map((line) => `${what}: ${line}`);
  return [
    ...of('process', processesOf(name)),
    ...of(
      'mount',
      linesOf('/proc/self/mountinfo').filter((line) => line.includes(name) || line.includes('/cni-')),
    ),
    ...of(
      'link',
      readdirSync('/sys/class/net').filter((link) => !/^mpc?\d+$/.test(link)),
    ),
    ...of(
      'namespace',
      filesIn('/run/netns').filter((one) => one.startsWith(`mpc-${name}-`) || one.startsWith('cni-')),
    ),
    ...of(
      'names',
      filesIn('/etc/netns').filter((one) => one.startsWith(`mpc-${name}-`)),
    ),
    ...of('rule', rules()),
    ...of('cgroup', globSync(`/sys/fs/cgroup/{,*/}{meshpass-cluster-${name},kubepods}`)),
    ...of(
      'setting',
      SETTINGS.map((setting) => `${setting} ${linesOf(`/proc/sys/${setting}`)[0]}`),
    ),
    ...of(
      'folder',
      [
        '/var/lib/cni',
        '/var/lib/kubelet',
        '/var/log/pods',
        '/run/containerd',
        `/var/lib/meshpass-cluster/${name}`,
      ].filter(existsSync),
    ),
  ].sort();
}

/** Processes that name its folder or its hosts, those in its control groups (pods), and all their descendants. */
function processesOf(name: string): string[] {
  const marks = [`meshpass-cluster/${name}/`, `mpc-${name}-`, `meshpass-cluster-${name}/`];
  const all = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  const told = all.map((pid) => {
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
    const parent = /^PPid:\t(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1];
    return { pid, command, parent, text: `${command}\n${read(`/proc/${pid}/cgroup`)}` };
  });
  const ours = new Set(told.filter(({ text }) => marks.some((mark) => text.includes(mark))).map(({ pid }) => pid));
  for (let grown = true; grown; ) {
    const children = told.filter(({ pid, parent }) => parent !== undefined && ours.has(parent) && !ours.has(pid));
    for (const { pid } of children) ours.add(pid);
    grown = children.length > 0;
  }
  return told.filter(({ pid }) => ours.has(pid)).map(({ pid, command }) => `${pid} ${command}`);
}

/** Without counters. */
function rules(): string[] {
  const text = execFileSync('iptables-save', { encoding: 'utf8' });
  return text.split('\n').filter((line) => line.startsWith('-A ') || line.startsWith('-N '));
}

function linesOf(file: string): string[] {
  return read(file).split('\n').filter(Boolean);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
