import { parseSync, Visitor } from 'rolldown/utils';

/**
 * What a module imports, as it is written there: static and dynamic imports, exports from elsewhere, types by `import('…')`, and files
 * named by `new URL('….ts', import.meta.url)`. Comments and documentation examples do not count.
 * @param file its name, for errors
 * @param onComputed gets the line of an import whose module is no literal, so that nobody can tell what it is
 * @throws Error where the text does not parse
 * @example
 *   specifiersOf('a.ts', "import { b } from './b.ts'; const c = () => import('./c.ts');", () => {}); // => ['./b.ts', './c.ts']
 */
export function specifiersOf(file: string, text: string, onComputed: (line: number) => void): readonly string[] {
  const { program, module, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]!.message}`);
  const found = [
    ...module.staticImports.map(({ moduleRequest }) => moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest }) => (moduleRequest ? [moduleRequest.value] : [])),
    ),
  ];
  const add = (source: unknown, start: number) => {
    const value = literalOf(source);
    if (value === undefined) onComputed(text.slice(0, start).split('\n').length);
    else found.push(value);
  };
  new Visitor({
    ImportExpression: ({ source, start }) => add(source, start),
    TSImportType: ({ source, start }) => add(source, start),
    NewExpression({ callee, arguments: [path] }) {
      if (callee.type !== 'Identifier' || callee.name !== 'URL') return;
      const value = literalOf(path);
      if (value?.startsWith('.') && /\.[mc]?[jt]s$/.test(value)) found.push(value);
    },
  }).visit(program);
  return [...new Set(found)];
}

interface Expression {
  readonly type: string;
  readonly value?: unknown;
  readonly quasis?: readonly { readonly value: { readonly cooked: string | null } }[];
}

/** The text of a string literal, or of a template without expressions. */
function literalOf(expression: unknown): string | undefined {
  const { type, value, quasis } = (expression ?? { type: '' }) as Expression;
  if (type === 'Literal' && typeof value === 'string') return value;
  if (type === 'TemplateLiteral' && quasis?.length === 1) return quasis[0]!.value.cooked ?? undefined;
  return undefined;
}
