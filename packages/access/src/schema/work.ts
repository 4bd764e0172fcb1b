/**
 * Limits how much work expressions can do at run time. Work is measured in units of about 10 nanoseconds and depends on
 * the size of each function's operands. An evaluation that exceeds its budget fails immediately, regardless of what
 * else the expression contains.
 */
import { type CelEnv, isCelError, isCelList, isCelMap } from '@bufbuild/cel';

/** The maximum amount of work per decision, in units. This corresponds to about 50 milliseconds. */
const MAX_WORK = 4_000_000;
/** The cost of a function call, excluding its operands. */
const CALL = 60;
/** The cost of an error, whether it is returned by a function or caused by operands that fit no overload. */
const ERROR = 400;
/** The cost of each operand, and of each value in a list or map. */
const [OPERAND, VALUE] = [5, 20];
/** The maximum length of a string or list after concatenation. */
const MAX_JOINED = 4096;

/** Functions that read their operands in full. All other functions only use the length of a list or map. */
const DEEP = new Set(['_==_', '_!=_', '@in']);
/** The cost of calling slow functions. Functions that accept a time zone create a calendar on every call. */
const SLOW = new Map([
  ...['FullYear', 'Month', 'Date', 'DayOfMonth', 'DayOfWeek', 'DayOfYear', 'Hours', 'Minutes', 'Seconds'].map(
    (name) => [`get${name}`, 50_000] as const,
  ),
  ['getMilliseconds', 50_000],
  ['timestamp', 2_000],
  ['duration', 1_000],
]);
/** The cost per character, for functions that cost more than one unit per 8 characters. */
const CHARACTER = new Map<string, number>([
  ...[['size', 4] as const, ['int', 20] as const, ['uint', 20] as const, ['double', 4] as const],
  ...[['bytes', 1] as const, ['string', 1] as const, ['timestamp', 1] as const],
]);

let left = MAX_WORK;
let isShared = false;

/** Wraps a function so that all expressions evaluated in it share one budget. The function must be synchronous. */
export function withinBudget<Given extends readonly unknown[], T>(
  work: (...given: Given) => T,
): (...given: Given) => T {
  return (...given) => {
    if (isShared) return work(...given);
    left = MAX_WORK;
    isShared = true;
    try {
      return work(...given);
    } finally {
      isShared = false;
    }
  };
}

/**
 * Deducts work units from the budget.
 * @throws Error if the budget is exhausted
 */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw new Error('the expression exceeds its evaluation limit');
}

/**
 * Charges for reading a value.
 * @param isWhole whether all of the value is read, not just its length
 */
function spendOn(value: unknown, isWhole: boolean, character = 1 / 8): void {
  spend(OPERAND);
  if (typeof value === 'string' || value instanceof Uint8Array) spend(value.length * character);
  else if (isCelMap(value) || isCelList(value)) {
    spend(VALUE * (1 + value.size));
    if (!isWhole) return;
    const members = isCelMap(value) ? [...value.entries()].flat() : value;
    for (const member of members) if (!isCelError(member)) spendOn(member, true);
  }
}

/** Calculates the cost of a call, in work units. */
type Price = (operands: readonly unknown[]) => number;

/**
 * Wraps an environment so that every call of one of its functions is charged according to its operands.
 * @param priced the functions whose calls have their own price, in work units
 */
export function metered(environment: CelEnv, priced: Readonly<Record<string, Price>>): CelEnv {
  const find = (name: string) => {
    const group = environment.funcs.find(name);
    const price = priced[name];
    return (
      group &&
      Object.create(group, {
        call: {
          value: (id: number, target: never, args: never[]) => {
            spendCall(name, target === undefined ? args : [target, ...args], price);
            const result = group.call(id, target, args);
            if (result === undefined || isCelError(result)) spend(ERROR);
            return result;
          },
        },
      })
    );
  };
  return Object.create(environment, { funcs: { value: { find } } }) as CelEnv;
}

/** Charges a function call and its operands to the budget. */
function spendCall(name: string, operands: readonly unknown[], price: Price | undefined): void {
  spend(price ? price(operands) : (SLOW.get(name) ?? CALL));
  for (const operand of operands) spendOn(operand, DEEP.has(name), CHARACTER.get(name));
  if (name === '_+_') spendJoined(operands);
}

/** Limits concatenation, because a string or list that doubles in every iteration would exhaust memory. */
function spendJoined(operands: readonly unknown[]): void {
  const sizes = operands.map((one) =>
    typeof one === 'string' || one instanceof Uint8Array ? one.length : isCelList(one) ? one.size : 0,
  );
  if (sizes.reduce((sum, size) => sum + size, 0) > MAX_JOINED) spend(Number.POSITIVE_INFINITY);
}
