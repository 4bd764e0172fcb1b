/** Announces whether this broker is active, for parts that are created before that is known. */
export interface ActiveState {
  /** Resolves when this broker becomes active. */
  readonly activated: Promise<void>;
  /** Whether this broker is known to be active at this instant. */
  readonly isLeader: () => boolean;
  /** Marks this broker as active. */
  readonly activate: (isLeader: () => boolean) => void;
}

/** Creates the state of a broker that is not active yet. */
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
