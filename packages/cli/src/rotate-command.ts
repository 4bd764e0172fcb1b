/** `meshpass rotate`: its flags. */
import type { Command } from 'commander';
import { operatorFlags } from './command/flags.ts';

export function rotateCommand(program: Command): void {
  const rotate = program
    .command('rotate')
    .description('change the key that signs tokens; no request fails by it')
    .option('--status', 'only show: keys, roots of the mesh, and how many certificates still need each root')
    .option('--wait', 'return when the new key signs')
    .option('--revoke-now', 'drop every key at once: all tokens so far are worthless, requests fail until agents renew')
    .option('--yes', 'confirm --revoke-now')
    .option('--reason <text>', 'for the audit log');
  for (const option of operatorFlags()) rotate.addOption(option);
  rotate.action(async (options) => (await import('./commands/rotate.ts')).rotate(options));
}
