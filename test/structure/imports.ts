import { parseSync, Visitor } from 'rolldown/utils';

/**
 * Specifiers that a module imports, as it writes them: static and dynamic imports, exports from elsewhere, types by `import('…')`, and files
 * named by `new URL('….ts', import.meta.url)`. Comments and documentation examples do not count.
 * @param file its name, for errors
 * @param onComputed gets the line of an import whose module is not a literal and so is unknown
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

/**
 * Names that a module imports or exports from others, by static imports and exports. Names of `import * as` and `export *` are
 * undefined, because they stand for all.
 * @throws Error where the text does not parse
 * @example
 *   namesOf('a.ts', "import { type B, c as d } from './b.ts';"); // => [{ specifier: './b.ts', name: 'B' }, { specifier: './b.ts', name: 'c' }]
 */
export function namesOf(file: string, text: string): readonly { specifier: string; name: string | undefined }[] {
  const { module, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]!.message}`);
  return [
    ...module.staticImports.flatMap(({ moduleRequest: { value: specifier }, entries }) =>
      entries.map(({ importName }) => ({ specifier, name: importName.name ?? defaultOf(importName.kind) })),
    ),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest, importName }) =>
        moduleRequest ? [{ specifier: moduleRequest.value, name: importName.name ?? undefined }] : [],
      ),
    ),
  ];
}

function defaultOf(kind: string): string | undefined {
  return kind === 'Default' ? 'default' : undefined;
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
