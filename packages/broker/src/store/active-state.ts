/** Whether this broker is the active one, for those of its parts that are made before that is decided. */
export interface ActiveState {
  /** Resolves when it becomes the active one. */
  readonly activated: Promise<void>;
  /** Whether it is known, at this instant, to be it. */
  readonly isLeader: () => boolean;
  /** To be called by who decides. */
  readonly activate: (isLeader: () => boolean) => void;
}

export function createActiveState(): ActiveState {
  const activated = Promise.withResolvers<void>();
  let current = () => false;
  return {
    activated: activated.promise,
    isLeader: () => current(),
    activate: (isLeader) => {
      current = isLeader;
      activated.resolve();
    },
  };
}
