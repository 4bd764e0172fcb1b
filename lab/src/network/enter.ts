/** The command line that runs a command on a host of the lab. */

/**
 * @param netns the host's network namespace
 * @param uid user to run as (its group has the same number); default: root. It keeps the one right to read
 *   folders, because the binaries may be in a cache below a home directory that only root may enter.
 */
export function enterHost(netns: string, argv: readonly string[], uid?: number): string[] {
  const enter = ['ip', 'netns', 'exec', netns];
  if (uid === undefined) return [...enter, ...argv];
  const rights = ['--inh-caps=-all,+dac_read_search', '--ambient-caps=-all,+dac_read_search'];
  return [...enter, 'setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...rights, '--', ...argv];
}
