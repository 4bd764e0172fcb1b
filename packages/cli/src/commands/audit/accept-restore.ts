import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { openConfigMapSink } from '@meshpass/broker/audit/checkpoint/config-map-sink';
import { openAuditKey } from '@meshpass/broker/audit/checkpoint/key';
import { fileSink, readKnownCheckpoints } from '@meshpass/broker/audit/checkpoint/sink';
import { acceptRestore } from '@meshpass/broker/audit/restore/accept-restore';
import { type Survey, surveyRestore } from '@meshpass/broker/audit/restore/survey-restore';
import { openStore } from '@meshpass/broker/store/open';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, text, toggle } from '../../command/flag.ts';
import { type Answer, printAnswer } from '../../command/outcome.ts';
import { auditKey, checkpointFlags, databaseUrl, output } from '../../command/shared-flags.ts';
import { withSnakeCaseTwins } from '../../output/json.ts';

const flags = {
  publicUrl: text('<url>', 'broker URL that identifies the log', { env: 'MESHPASS_PUBLIC_URL', required: true }),
  data: text('<dir>', "the broker's data directory, with the embedded store, key and checkpoint", {
    env: 'MESHPASS_DATA',
    required: true,
  }),
  databaseUrl,
  auditKey,
  ...checkpointFlags,
  kubeconfig: text('<file>', 'kubeconfig for the ConfigMap', {
    env: 'MESHPASS_KUBECONFIG',
    defaultText: "the Pod's ServiceAccount",
  }),
  reason: text('<text>', 'reason for the audit log; required with --yes'),
  by: text('<name>', 'person who declares the restore, for the audit log', { defaultText: 'user and host' }),
  yes: toggle('declare the restore: ends all sessions, and cannot be undone'),
  dryRun: toggle('only show missing rows, and exit with 0'),
  output,
};
type AcceptRestoreOptions = OptionsOf<typeof flags>;

export const command = defineCommand({
  about:
    'Stop every broker first. Without --yes, the command only shows missing rows and exits with 2 (0 with --dry-run). With --yes, the log continues in a new epoch.',
  flags,
  exitCodes: {
    0: 'declared, or shown with --dry-run',
    1: 'rejected or failed',
    2: 'invalid flags, or not confirmed with --yes',
    3: 'the store does not respond, or a broker is still active',
  },
  examples: [
    'meshpass audit accept-restore --public-url https://broker.example.com --data /var/lib/meshpass',
    'meshpass audit accept-restore --public-url https://broker.example.com --data /var/lib/meshpass --reason "restored the backup of Monday" --yes',
  ],
  page: 'docs/install/backup.md',
  run: declareRestore,
});

/**
 * Shows which rows are missing. If `yes` is set, also declares the restore.
 * @throws MeshpassError `usage` if the confirmation or the reason is missing, or `store_unavailable` if the store does
 *   not respond or a broker is still active
 */
async function declareRestore(options: AcceptRestoreOptions): Promise<Answer> {
  const { data, databaseUrl, auditKey, auditCheckpoint, auditCheckpointConfigmap, kubeconfig } = options;
  const { reason = '' } = options;
  if (options.yes && options.dryRun) throw new MeshpassError('usage', '--yes cannot be combined with --dry-run.');
  if (options.yes && reason.trim() === '')
    throw new MeshpassError('usage', '--yes requires a reason for the audit log. Add --reason.');
  if (!URL.canParse(options.publicUrl)) throw new MeshpassError('usage', '--public-url must be a URL.');
  const key = await openAuditKey(auditKey ?? join(data, 'audit-key.pem'), options.publicUrl, false);
  const map = auditCheckpointConfigmap && (await openConfigMapSink({ kubeconfig, ...auditCheckpointConfigmap }));
  const sinks = [
    fileSink(auditCheckpoint ?? join(data, 'audit-checkpoint'), key.verifiers),
    ...(map ? [map.sink] : []),
  ];
  const store = await openStore({
    dataDir: data,
    databaseUrl,
    onWaiting: () => {
      throw new MeshpassError('store_unavailable', 'A broker is active on this store. Stop all brokers first.');
    },
  });
  try {
    const survey = await surveyRestore(store.db, key, await readKnownCheckpoints(sinks, key.verifiers));
    if (!options.yes) {
      const answer = { json: withSnakeCaseTwins(seen(survey)), text: () => surveyLines(survey) };
      if (options.dryRun) return answer;
      printAnswer(answer, options.output);
      throw new MeshpassError('usage', 'Nothing was changed. To declare the restore, repeat with --reason and --yes.');
    }
    const order = { by: options.by ?? `${userInfo().username}@${hostname()}`, reason };
    const accepted = await acceptRestore({ store, key, sinks }, survey, order, Date.now, randomBytes);
    const { epoch, row, endedSessions, note } = accepted;
    const declared = `Declared in row ${row}: the log continues in epoch ${epoch}; ${endedSessions} sessions have ended.`;
    return {
      json: withSnakeCaseTwins({ ...seen(survey), ...accepted }),
      text: () => [...surveyLines(survey), '', declared, '', ...note.split('\n')],
    };
  } finally {
    await store.close();
    map?.close();
  }
}

function seen({ fault, last, signed, invalid, missing, unproven, liveSessions, access, epoch }: Survey) {
  return { fault, last, signed, invalid, missing, unproven, liveSessions, access, epoch };
}

function surveyLines(survey: Survey): readonly string[] {
  const { fault, last, signed, invalid, missing, unproven, liveSessions, access, epoch } = survey;
  return [
    fault ? `A broker would fail to start: ${fault.message} [${fault.code}]` : 'The log matches its checkpoints.',
    last ? `Last row in the store:  ${last.seq}, ${last.time}, hash ${last.hash}` : 'The store has no rows.',
    signed
      ? `Newest checkpoint:      covers ${signed.rows} rows, stored ${signed.time ?? 'at an unknown time'} in ${signed.sink}`
      : 'Newest checkpoint:      none outside the store is valid',
    ...invalid.map(({ sink, problem }) => `Ignored:                checkpoint in ${sink}: ${problem}`),
    missing
      ? `MISSING:                ${missing[1] - missing[0] + 1} signed rows, ${missing[0]} to ${missing[1]}`
      : 'Missing:                no signed row; rows after the newest checkpoint are unknown',
    ...(unproven ? [`Not proven:             rows ${unproven[0]} to ${unproven[1]}, which no checkpoint covers`] : []),
    `Sessions that end:      ${liveSessions}, every live session in the store, including any that ended after the backup`,
    access
      ? `Access file in effect:  version ${access.version} of ${access.time}, by ${access.appliedBy}; if a newer version exists, apply it`
      : 'Access file in effect:  the file that the broker starts with',
    `Epoch that begins:      ${epoch}`,
  ];
}
