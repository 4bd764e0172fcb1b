/** The control groups that a cluster's pods are in: made before the kubelet starts, removed when nothing runs in them. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = '/sys/fs/cgroup';
const PATIENCE_MS = 5000;
const POLL_MS = 50;

/** Makes `name` below each controller (version 1), or below the one tree (version 2). */
export function makeCgroups(name: string): void {
  if (existsSync(join(ROOT, 'cgroup.controllers'))) delegateControllers();
  for (const hierarchy of hierarchies()) {
    const folder = join(hierarchy, name);
    mkdirSync(folder, { recursive: true });
    // A new cpuset has no processors, and takes no process.
    for (const file of ['cpuset.cpus', 'cpuset.mems'])
      if (hierarchy.endsWith('/cpuset') && existsSync(join(folder, file)))
        writeFileSync(join(folder, file), readFileSync(join(hierarchy, file), 'utf8').trim());
  }
}

/** Version 2: a group has the controllers that its parent gives on. Most machines' first process has done this already. */
function delegateControllers(): void {
  const available = readFileSync(join(ROOT, 'cgroup.controllers'), 'utf8').trim().split(' ');
  writeFileSync(join(ROOT, 'cgroup.subtree_control'), available.map((controller) => `+${controller}`).join(' '));
}

/** Removes them with all below. Processes that were just killed may need a moment to leave. */
export async function removeCgroups(name: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (const hierarchy of hierarchies()) {
    const folder = join(hierarchy, name);
    while (existsSync(folder) && !removeTree(folder) && Date.now() < deadline) await sleep(POLL_MS);
  }
}

function removeTree(folder: string): boolean {
  const inner = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const emptied = inner.map(({ name }) => removeTree(join(folder, name))).every(Boolean);
  if (!emptied) return false;
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return false; // a process is still in it
  }
}

function hierarchies(): string[] {
  if (existsSync(join(ROOT, 'cgroup.controllers'))) return [ROOT];
  return readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map(({ name }) => join(ROOT, name))
    .filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}
