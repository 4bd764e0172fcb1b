import { describe, expect, it } from 'vitest';
import { findPhrases, readPhrases } from './words.ts';

const LIST = readPhrases(new URL('words.txt', import.meta.url));
const find = (text: string) => findPhrases('a.ts', text, LIST);

describe('the word list', () => {
  it('reports phrases in comments and messages with file, line and replacement', () => {
    expect(find("\n// in place of the token\nf('use this one in place of it');")).toEqual([
      'a.ts:2: "in place of": write instead of.',
      'a.ts:3: "in place of": write instead of.',
    ]);
    expect(find('/**\n * Of the session.\n */\nlet a;')).toEqual([expect.stringContaining('a.ts:1: "/** Of"')]);
    expect(find(`f(\`the key of \${a} in place of it\`);`)).toHaveLength(1);
  });

  it('ignores code, text in backticks and short literals', () => {
    expect(find("const mends = 'mends';\n/** Calls `mend()`. */\nmend(mends);")).toEqual([]);
  });
});
