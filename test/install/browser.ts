/** Plays an owner of the organization at GitHub, in a browser. */
import type { Cluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { standIns } from '@meshpass/lab/stand-ins';

/**
 * Confirms the App that the page describes.
 * @param page that `meshpass github-app create` serves on the operator's machine
 */
export async function atGithub(cluster: Cluster, page: string): Promise<void> {
  const curl = async (...args: string[]): Promise<string> => {
    const { argv, env } = cluster.commandLine('operator', ['curl', '-sS', '-A', 'browser', ...args]);
    return await must(argv, 'lab_start', { env });
  };
  const text = await curl(page);
  const [, action] = /action="([^"]+)"/.exec(text) ?? [];
  const [, manifest] = /name="manifest" value="([^"]+)"/.exec(text) ?? [];
  if (action === undefined || manifest === undefined) throw new Error(`the page has no form:\n${text}`);
  const form = `manifest=${plain(manifest)}`;
  const back = await curl('-o', '/dev/null', '-w', '%{redirect_url}', '--data-urlencode', form, plain(action));
  await curl(back);
}

/** Installs the App, as the command asks once GitHub has registered it. */
export async function installApp(cluster: Cluster): Promise<void> {
  await standIns(cluster).github.suspendInstallation('acme', false);
}

function plain(text: string): string {
  return text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');
}
