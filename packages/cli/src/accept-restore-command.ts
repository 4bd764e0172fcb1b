/** Flags of `meshpass audit accept-restore`, and those that say where the newest checkpoint of the audit log is kept. */
import { type Command, Option } from 'commander';
import { flag, output, required } from './command/flags.ts';

export function checkpointFlags(): Option[] {
  return [
    flag(
      '--audit-checkpoint <file>',
      'newest checkpoint of the audit log; brokers of one database share it (default: in --data)',
      'MESHPASS_AUDIT_CHECKPOINT',
    ),
    flag(
      '--audit-checkpoint-configmap <ns/name>',
      'keep it in this ConfigMap, too',
      'MESHPASS_AUDIT_CHECKPOINT_CONFIGMAP',
    ),
  ];
}

export function acceptRestoreCommand(audit: Command): void {
  const command = audit
    .command('accept-restore')
    .description(
      'after a restore from a backup, with every broker stopped: show what the audit log lacks, and, with --yes, let it go on',
    );
  for (const option of [
    required('--public-url <url>', 'of the broker: names the log', 'MESHPASS_PUBLIC_URL'),
    required('--data <dir>', 'of the broker: embedded store, key and checkpoint', 'MESHPASS_DATA'),
    flag('--database-url <url>', 'PostgreSQL in place of the embedded store', 'DATABASE_URL'),
    flag('--audit-key <file>', 'Ed25519 keys that sign the audit log, PEM', 'MESHPASS_AUDIT_KEY'),
    ...checkpointFlags(),
    flag('--kubeconfig <file>', 'for the ConfigMap, outside of a Pod', 'MESHPASS_KUBECONFIG'),
    new Option('--reason <text>', 'why, for the audit log; needed with --yes'),
    new Option('--by <name>', 'who declares it, for the audit log (default: user and host)'),
    new Option('--yes', 'declare it: ends all sessions, and cannot be undone'),
    output(),
  ])
    command.addOption(option);
  command.action(async (options) => (await import('./commands/audit/accept-restore.ts')).acceptRestoreCommand(options));
}
