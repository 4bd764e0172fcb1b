/** Reasons for which tests may be skipped. Any other skip counts as a failure in CI, because no one else runs what CI does not run. */

/** Reasons by file and full test name. */
const MAY_BE_SKIPPED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'packages/broker/test/store/store.test.ts': {
    'the store on pglite > is not opened if the file of the lock cannot be written': 'root can write to every file',
  },
  'test/chart/upgrade.cluster.test.ts': {
    'needs the commit of the version before in this clone': 'a shallow clone lacks it',
  },
};

/**
 * Returns why a test may be skipped, or undefined if it may not.
 * @param file path from the root of the repository
 * @param name full test name, with ` > ` between its titles
 */
export function skipReason(file: string, name: string, env: NodeJS.ProcessEnv): string | undefined {
  const listed = MAY_BE_SKIPPED[file]?.[name];
  if (listed !== undefined) return listed;
  const lacksZtunnel = file.endsWith('.ambient.test.ts') && !env.MESHPASS_ZTUNNEL;
  return lacksZtunnel ? 'MESHPASS_ZTUNNEL names no ztunnel' : undefined;
}
