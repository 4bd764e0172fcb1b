/** A page of commands by its headings, for a page whose sections are for different days. */
import { readPage, type Step } from './page.ts';

const HEADING = /^#{2,3} (.+)$/gm;

/** @returns the steps below each heading of the second and third level, by its text. @throws Error where a heading is there twice */
export function readSections(markdown: string): ReadonlyMap<string, readonly Step[]> {
  const headings = [...markdown.matchAll(HEADING)];
  const sections = new Map<string, readonly Step[]>();
  for (const [at, { 1: title, index }] of headings.entries()) {
    if (sections.has(title!)) throw new Error(`there are two sections ${title}`);
    // Lines stay those of the page.
    const before = markdown.slice(0, index).replace(/[^\n]/g, '');
    sections.set(title!, readPage(before + markdown.slice(index, headings[at + 1]?.index)));
  }
  return sections;
}
