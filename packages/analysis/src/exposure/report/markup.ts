/** A template literal for HTML that escapes every value, so callers cannot forget to. */

/** HTML that does not need escaping. */
export interface SafeHtml {
  readonly markup: string;
}

type Value = string | number | SafeHtml | readonly SafeHtml[];

/**
 * Builds HTML. Strings are escaped for use as element content and in double-quoted attribute values.
 * @example
 *   html`<p>${'<script>'}</p>`.markup; // => '<p>&lt;script&gt;</p>'
 */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): SafeHtml {
  return { markup: parts.reduce((text, part, at) => `${text}${formatValue(values[at - 1]!)}${part}`) };
}

/** Marks constant text as safe HTML. The text is not escaped. */
export function rawHtml(text: string): SafeHtml {
  return { markup: text };
}

function formatValue(value: Value): string {
  if (typeof value === 'string') return value.replace(/[&<>"']/g, (one) => ENTITIES[one]!);
  if (typeof value === 'number') return String(value);
  return 'markup' in value ? value.markup : value.map(({ markup }) => markup).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
