/** Limits the total size of the expressions in an access file and its includes, before any is compiled. */
import type { AccessFileProblem } from '../problem.ts';
import { readExpression } from '../schema/expression.ts';
import type { YamlFile } from './read-yaml.ts';

/** Maximum characters plus regular expression instructions. Takes at most a third of a second and 50 MB. */
const MAX_EXPRESSIONS = 100_000;

/** Creates the counter for the files of one access file. */
export function createExpressionsBudget(): (yaml: YamlFile) => readonly AccessFileProblem[] {
  let left = MAX_EXPRESSIONS;
  return (yaml) => {
    for (const [path, text] of expressionsIn(yaml.value, [])) {
      // Charges the text before parsing it, because parsing is the slow part.
      left -= text.length;
      const read = left < 0 ? undefined : readExpression(text);
      if (read && 'value' in read) left -= read.value.size - text.length;
      if (left < 0) return [{ code: 'access_file_expression', place: yaml.locate(path, 'value'), message: TOO_MUCH }];
    }
    return [];
  };
}

const TOO_MUCH =
  `this expression pushes the total for all files above ${MAX_EXPRESSIONS} characters and matches() steps: shorten the ` +
  '{n} repetitions in matches(), or use claims instead of expressions';

/** Finds texts under the key `when`, wherever the schema may use one. */
function* expressionsIn(value: unknown, path: readonly PropertyKey[]): Generator<[readonly PropertyKey[], string]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (key === 'when' && typeof member === 'string') yield [[...path, key], member];
    else yield* expressionsIn(member, [...path, key]);
  }
}
