/** A person at a host of the lab, who runs a command that sends them to their provider, and signs in there. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Hosts } from '@meshpass/lab/hosts';
import { expect } from 'vitest';

const BROWSE = fileURLToPath(new URL('../lab/src/try/browse.ts', import.meta.url));
/** Browser on this host, or browser anywhere, with the code in the URL. */
const URL_LINE = /^(?: {4}|Or open )(https:\S+)/;

/** Runs `meshpass` with these words to its end. Its browser is on the same host, so the provider can redirect it to the command. */
export async function signInBy(
  lab: Hosts,
  host: string,
  words: readonly string[],
  { person, env = {} }: { readonly person: string; readonly env?: Readonly<Record<string, string>> },
): Promise<void> {
  const child = lab.spawn(host, ['meshpass', ...words], { env });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let said = '';
  for await (const line of createInterface({ input: child.stderr! })) {
    said += `${line}\n`;
    const url = URL_LINE.exec(line)?.[1];
    if (url === undefined) continue;
    const { code, stderr } = await lab.exec(host, [process.execPath, BROWSE, person, url]);
    expect(code, stderr).toBe(0);
  }
  expect(await ended, said).toBe(0);
}
