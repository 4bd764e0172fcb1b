/** Whether this broker is the active one, for those of its parts that are made before that is decided. */
export interface Duty {
  /** Resolves when it becomes the active one. */
  readonly begun: Promise<void>;
  /** Whether it is known, at this instant, to be it. */
  readonly holds: () => boolean;
  /** To be called by who decides. */
  readonly begin: (holds: () => boolean) => void;
}

export function createDuty(): Duty {
  const begun = Promise.withResolvers<void>();
  let current = () => false;
  return {
    begun: begun.promise,
    holds: () => current(),
    begin: (holds) => {
      current = holds;
      begun.resolve();
    },
  };
}
