/** `meshpass up` */
import { agentConfig } from '@meshpass/agent/config';
import { launch } from '@meshpass/agent/launch';
import type { Output } from '../command/failure.ts';
import { statusText } from '../output/status-text.ts';

interface UpOptions {
  readonly broker?: string;
  readonly caFile?: string;
  readonly proofFile?: string;
  readonly audience?: string;
  readonly proxyPort?: string;
  readonly presencePort?: string;
  readonly byName: boolean;
  readonly foreground?: boolean;
  readonly output: Output;
}

export async function up(options: UpOptions): Promise<void> {
  const config = agentConfig(
    {
      broker: options.broker,
      caFile: options.caFile,
      proofFile: options.proofFile,
      audience: options.audience,
      proxyPort: options.proxyPort === undefined ? undefined : Number(options.proxyPort),
      presencePort: options.presencePort === undefined ? undefined : Number(options.presencePort),
      byName: options.byName ? undefined : false,
    },
    process.env,
  );
  const print = (status: Parameters<typeof statusText>[0]) =>
    console.log(options.output === 'json' ? JSON.stringify(status, null, 2) : statusText(status, Date.now()));
  if (!options.foreground) return print(await launch(config, { env: process.env }));
  const { runUntilSignal } = await import('@meshpass/agent/daemon');
  await runUntilSignal(config, print);
}
