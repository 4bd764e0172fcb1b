/** Reports whether this broker is active. It is used by components that are created before the election is decided. */
export type ActiveState = ReturnType<typeof createActiveState>;

/** Creates the state for a broker that is not active yet. */
export function createActiveState() {
  const activated = Promise.withResolvers<void>();
  let current = () => false;
  return {
    /** Resolves when this broker becomes active. */
    activated: activated.promise,
    /** Whether this broker is known to be active right now. */
    isLeader: () => current(),
    /** Marks this broker as active. */
    activate: (isLeader: () => boolean) => {
      current = isLeader;
      activated.resolve();
    },
  };
}
