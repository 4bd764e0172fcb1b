/** Access files in force. */

/** Tables of access files. */
export const ACCESS_TABLES = {
  /** Access files applied by a plan; the last one is in force. */
  access_versions: {
    version: 'bigint primary key',
    time: 'timestamptz not null',
    applied_by: 'text not null',
    reason: 'text not null',
    /** Id of the plan. */
    plan: 'text not null',
    /** Name of the main file. */
    main: 'text not null',
    /** JSON text: content by path. */
    files: 'text not null',
    /**
     * Issuer and repository of the GitHub Actions run that applied it, and the id of the run; null if an operator did.
     */
    run_of: 'text',
    run: 'bigint',
    /** Whether the file on disk is in force from this version on, with its text at that time; null if not. */
    on_disk: 'boolean',
  },
  /** File on disk that last came into force; at most one row. */
  access_in_force: {
    singleton: 'boolean primary key default true check (singleton)',
    /** SHA-256 of its text and included files, hex. */
    digest: 'text not null',
    /** Name of the main file. */
    main: 'text not null',
    /** JSON text: content by path. */
    files: 'text not null',
  },
} as const;
