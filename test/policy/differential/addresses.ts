/** Addresses of this machine on a lab's network, so that calls come from several. */
import type { Lab } from '@meshpass/lab';
import { run } from '@meshpass/lab/run';

/** @returns the machine's own address and two more, and what removes these */
export async function openAddresses(
  lab: Lab,
): Promise<{ readonly addresses: readonly string[]; readonly remove: () => Promise<void> }> {
  const network = lab.hosts.control!.ip.replace(/\d+$/, '');
  const own = `${network}1`;
  const more = [`${network}201`, `${network}202`];
  const link = (await must(['ip', '-o', '-4', 'addr', 'show', 'to', `${own}/32`])).split(/\s+/)[1]!;
  for (const address of more) await must(['ip', 'addr', 'replace', `${address}/32`, 'dev', link]);
  return {
    addresses: [own, ...more],
    remove: async () => {
      for (const address of more) await run(['ip', 'addr', 'del', `${address}/32`, 'dev', link]);
    },
  };
}

async function must(argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(argv);
  if (code !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
  return stdout;
}
