/** The published JSON Schemas are those of the code, take every good file, and find what the form of a bad one shows. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { accessJsonSchema, includedJsonSchema } from '../src/index.ts';
import { keysAt } from '../src/schema/json-schema.ts';
import { BAD_CONSTRUCTS } from './bad-constructs.ts';
import { BAD_FILES } from './bad-files.ts';
import { BAD_TARGETS } from './bad-targets.ts';
import { BAD_TRUST } from './bad-trust.ts';
import { GOOD_FILES } from './good-files.ts';

const published = (name: string) =>
  JSON.parse(readFileSync(new URL(`../schema/${name}.schema.json`, import.meta.url), 'utf8')) as object;
const takes = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true }).compile(
  published('access'),
);

describe('the published JSON Schema', () => {
  it('is current: else run `npm run schema -w @meshpass/access`', () => {
    expect(published('access')).toEqual(JSON.parse(JSON.stringify(accessJsonSchema())));
    expect(published('access-included')).toEqual(JSON.parse(JSON.stringify(includedJsonSchema())));
  });

  it.each(GOOD_FILES)('takes %s', (_, text) => {
    expect(takes(parse(text)) || takes.errors).toBe(true);
  });

  /** Rules that an editor cannot check: YAML itself, expressions, references, and how entries fit together. */
  const BEYOND_FORM = new Set<string>([
    'a contact of several lines',
    'a contact that turns text around',
    'ID tokens that are dated back by an hour',
    'an unknown issuer',
    'a grant called system',
    'a grant called agent',
    'a grant called edge',
    'a grant called roots',
    'a grant called tunnel',
    'a grant that stands twice',
    'a key that stands twice',
    'a port that stands twice',
    'an operation that stands twice',
    'a role that stands twice',
    'certificates of over an hour',
    'certificates of under two minutes',
    'a session of over 12 hours',
    'a template that is only a part of a segment',
    'a path with dots',
    'CEL that does not parse',
    'CEL with an unknown variable',
    'a user of an issuer that knows none',
    'everyone on GitHub',
    'a user of any workflow on GitHub',
    'a team where no Codespace is trusted',
    'Codespaces where none is trusted',
    'an issuer called github',
    'one issuer under two names',
    'an issuer with a password',
    'the audience of istiod',
    'more than a megabyte',
    'a ref with ** inside',
    'a ref that git does not take',
    'an environment of anybody',
    'an environment of a Codespace',
    "an environment of anybody's workflow",
    "claims of anybody's workflow",
    "a person by id in anybody's workflow",
    'an id of an issuer that knows none',
    'a ref of an issuer that knows none',
    'a claim by pattern',
    'a claim of a claim',
    'a ref of Codespaces that is denied',
    'an unknown issuer that is denied',
    'an id of Okta that is denied',
    'a service without its namespace',
    'a namespace twice',
    'a host beside a service',
    'a selection twice',
    'a template after {**}',
    '* beside a template',
    'a template with an empty segment',
    'a reason with a control character',
    'a window of no length',
    'an unknown zone',
    'an instant of no calendar',
    'an end before its beginning',
    'an emergency of half a day',
    'an emergency that is reviewed at once',
    'an emergency that a job takes',
    'an emergency that is reviewed from a repository',
    'an approval by a job',
    'an approval by an issuer without people',
    'an approval from a repository',
    'an approval for a day',
    'an approval that ends before it begins',
    'a webhook for an unknown issuer',
    'a webhook for jobs',
    'a role twice by label',
    'a login of a person whom GitHub does not attest',
    'a login if GitHub attests no one',
    'a login that is denied',
    'a login of a sign-in',
    'a method with a letter too few',
    'a denied method that does not exist',
    'a denied path below one that is allowed',
    'a denied path of a whole port',
    'a denied path below a template',
    'a denied gRPC method of a whole service',
    'a denied path that covers only one of what is allowed',
    'claims for a path below one that needs none',
    'a file that includes another, given alone',
  ]);
  const all = [...BAD_FILES, ...BAD_TARGETS, ...BAD_TRUST, ...BAD_CONSTRUCTS].filter(
    ([, , code]) => code !== 'access_file_syntax',
  );

  it('refuses every bad file that its form gives away', () => {
    const taken = all.flatMap(([name, text]) => {
      try {
        return takes(parse(text, { logLevel: 'silent' })) ? [name] : [];
      } catch {
        return []; // what the reader of YAML refuses, an editor shows as well
      }
    });
    expect(taken.filter((name) => !BEYOND_FORM.has(name))).toEqual([]);
    expect([...BEYOND_FORM].filter((name) => !taken.includes(name))).toEqual([]);
  });

  it('tells the keys that may stand somewhere', () => {
    expect(keysAt(accessJsonSchema(), ['trust', 'codespaces'])).toEqual(['organization']);
    expect(keysAt(accessJsonSchema(), ['grants', 'dev', 'to', 0, 'allow', 1])).toEqual(['operation', 'require']);
    expect(keysAt(accessJsonSchema(), ['nowhere', 0])).toEqual([]);
  });
});
