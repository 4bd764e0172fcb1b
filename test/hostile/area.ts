/**
 * The hostile suite: inputs that must not be let in, each beside the same input without its one fault, which must be.
 * Without that positive control a refusal shows nothing: it could be for another reason.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Outcome of an input. */
export interface Outcome {
  readonly accepted: boolean;
  /** Answer of the other side, for the report: status and error code, or how it closed the connection. */
  readonly answer: string;
}

/** @typeParam World what the area's inputs work on, as `HostileArea.open` gives it */
export interface HostileInput<World> {
  /** Fault of the input, as the test's name says it: `an ID token without an audience`. Unique in its area. */
  readonly fault: string;
  readonly attack: (world: World) => Promise<Outcome>;
  /** Sends the same input without the fault. */
  readonly control: (world: World) => Promise<Outcome>;
  /** The error code that the refusal must carry, if the other side has codes. */
  readonly code?: string;
}

export interface HostileArea<World> {
  /** `broker: DPoP proofs`. */
  readonly name: string;
  readonly open: () => Promise<World>;
  readonly close: (world: World) => Promise<void>;
  readonly inputs: readonly HostileInput<World>[];
}

/** Outcomes of the inputs of an area, filled while its tests run. */
export interface Tally {
  readonly area: string;
  /** Outcomes by fault; the last one of an input that was tried twice. */
  readonly outcomes: Map<string, Outcome>;
}

/** An area has at least so many inputs. */
const FEWEST = 30;

/** Makes a test of each input of the area. */
export function describeHostile<World>(area: HostileArea<World>): Tally {
  // Every answer contains it: such an expectation cannot fail.
  const idle = area.inputs.find(({ code }) => code !== undefined && code.trim() === '');
  if (idle) throw new Error(`${area.name}: "${idle.fault}" names an empty code`);
  const tally: Tally = { area: area.name, outcomes: new Map() };
  describe(`${area.name}: lets nothing in`, () => {
    let world: World;
    beforeAll(async () => {
      world = await area.open();
    });
    afterAll(() => world && area.close(world));

    it.each(area.inputs.map((input) => [input.fault, input] as const))(
      '%s',
      async (fault, { attack, control, code }) => {
        const honest = await control(world);
        expect(honest, 'the control must be accepted').toMatchObject({ accepted: true });
        const outcome = await attack(world);
        tally.outcomes.set(fault, outcome);
        expect(outcome, 'the hostile input must be refused').toMatchObject({ accepted: false });
        if (code !== undefined) expect(outcome.answer).toContain(code);
      },
    );

    it(`tries at least ${FEWEST} inputs, each of its own`, () => {
      expect(new Set(area.inputs.map(({ fault }) => fault)).size).toBe(area.inputs.length);
      expect(area.inputs.length).toBeGreaterThanOrEqual(FEWEST);
    });
  });
  return tally;
}
