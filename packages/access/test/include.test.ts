import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { MeshpassError } from '@meshpass/identity';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { authorize, loadAccess } from '../src/index.ts';
import { ALICE } from './shop.ts';

const TRUST = 'trust: {codespaces: {organization: acme}}\n';
const grant = (name: string, who = '{user: alice}') =>
  `  ${name}: {who: [${who}], to: [{service: ${name}.shop, port: 80}]}\n`;
const grants = (...names: string[]) => `grants:\n${names.map((name) => grant(name)).join('')}`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'meshpass-include-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
}
const load = () => loadAccess(join(dir, 'access.yaml'));
function refusal(files: Readonly<Record<string, string>>): MeshpassError {
  write(files);
  try {
    load();
  } catch (error) {
    return error as MeshpassError;
  }
  throw new Error('the file was taken');
}
/** A first file that includes. */
const first = (...include: string[]) =>
  `include: [${include.map((one) => JSON.stringify(one)).join(', ')}]\n${TRUST}${grants('first')}`;

describe('files that include others', () => {
  it('are one, with the place of each entry in its own file', () => {
    write({
      'access.yaml': first('teams/a.yaml', 'b.yml'),
      'teams/a.yaml': `include: [below/c.yaml]\n\n${grants('a')}`,
      'teams/below/c.yaml': `\n${grants('c')}`,
      'b.yml': grants('b'),
    });
    const { access, paths } = load();
    expect(access.files).toEqual(['access.yaml', 'teams/a.yaml', 'teams/below/c.yaml', 'b.yml']);
    expect(paths.map((path) => path.slice(path.lastIndexOf('/') + 1))).toEqual([
      'access.yaml',
      'a.yaml',
      'c.yaml',
      'b.yml',
    ]);
    expect(access.grants.map(({ name, place }) => `${name} ${place.file}:${place.line}`)).toEqual([
      'first access.yaml:4',
      'a teams/a.yaml:4',
      'c teams/below/c.yaml:3',
      'b b.yml:2',
    ]);
    expect(authorize(ALICE, access).grants).toHaveLength(4);
  });

  it('may say nothing', () => {
    write({ 'access.yaml': first('a.yaml'), 'a.yaml': 'grants: {}\n' });
    expect(load().access.grants).toHaveLength(1);
  });

  it('are read where a link to the first one leads, as in a mounted ConfigMap', () => {
    write({ '..2026/access.yaml': first('a.yaml'), '..2026/a.yaml': grants('a') });
    symlinkSync('..2026', join(dir, '..data'));
    for (const name of ['access.yaml', 'a.yaml']) symlinkSync(join('..data', name), join(dir, name));
    expect(load().access.grants.map(({ name }) => name)).toEqual(['first', 'a']);
  });

  it('are refused together, with every finding in the right file', () => {
    const error = refusal({
      'access.yaml': first('a.yaml', 'b.yaml').replace('{user: alice}', '{user: "*"}'),
      'a.yaml': grants('a').replace('port: 80', 'prot: 80'),
      'b.yaml': grants('b').replace('[{user: alice}]', '[]'),
    });
    // Problems in the form of the first file are reported alone, because it lists the other files.
    expect(error.message).toMatch(/^access\.yaml:4:24 user: "\*": logins do not support patterns/);
    write({ 'access.yaml': first('a.yaml', 'b.yaml') });
    expect(() => load()).toThrow(
      expect.objectContaining({
        code: 'access_file_unknown_key',
        message: expect.stringMatching(
          /^a\.yaml:2:\d+ unknown key "prot" \(did you mean "port"\?\)\nb\.yaml:2:\d+ who: "who" is empty/,
        ),
      }),
    );
  });

  it.each<[string, Readonly<Record<string, string>>, RegExp]>([
    ['a file that is not there', { 'access.yaml': first('a.yaml') }, /^access\.yaml:1:11 a\.yaml does not exist$/],
    [
      'a file of the machine',
      { 'access.yaml': first('/etc/access.yaml') },
      /^access\.yaml:1:11 "\/etc\/access\.yaml" is an absolute path/,
    ],
    ['a file outside', { 'access.yaml': first('../a.yaml') }, /is outside the directory of access\.yaml$/],
    ['a file outside by a detour', { 'access.yaml': first('x/../../a.yaml') }, /is outside the directory/],
    [
      'a file outside from below',
      { 'access.yaml': first('x/a.yaml'), 'x/a.yaml': 'include: [../../b.yaml]\n' },
      /^x\/a\.yaml:1:11 "\.\.\/\.\.\/b\.yaml" is outside/,
    ],
    ['a pattern', { 'access.yaml': first('*.yaml') }, /is a pattern: list each file by name$/],
    ['a backslash', { 'access.yaml': first('..\\a.yaml') }, /contains a backslash/],
    ['another drive', { 'access.yaml': first('c:/a.yaml') }, /is an absolute path/],
    ['what is no YAML by its name', { 'access.yaml': first('token') }, /does not end in \.yaml or \.yml$/],
    ['a directory', { 'access.yaml': first('a.yaml'), 'a.yaml/x': '' }, /a\.yaml cannot be read/],
    [
      'itself',
      { 'access.yaml': first('access.yaml') },
      /^access\.yaml:1:11 access\.yaml -> access\.yaml: the includes form a loop$/,
    ],
    [
      'a circle',
      { 'access.yaml': first('x/a.yaml'), 'x/a.yaml': 'include: [b.yaml]\n', 'x/b.yaml': 'include: [a.yaml]\n' },
      /^x\/b\.yaml:1:11 access\.yaml -> x\/a\.yaml -> x\/b\.yaml -> x\/a\.yaml: the includes form a loop/,
    ],
    [
      'a file twice',
      { 'access.yaml': first('a.yaml', './a.yaml'), 'a.yaml': grants('a') },
      /^access\.yaml:1:21 a\.yaml is already included, at access\.yaml:1:11$/,
    ],
    [
      'whose word is taken',
      { 'access.yaml': first('a.yaml'), 'a.yaml': TRUST },
      /^a\.yaml:1:1 only the first file may have "trust": move it there$/,
    ],
    [
      'who operates',
      { 'access.yaml': first('a.yaml'), 'a.yaml': `operators: {}\n${grants('a')}` },
      /^a\.yaml:1:1 only the first file may have "operators": move it there$/,
    ],
    [
      'whom people ask',
      { 'access.yaml': first('a.yaml'), 'a.yaml': `contact: a@acme.example\n${grants('a')}` },
      /^a\.yaml:1:1 only the first file may have "contact": move it there$/,
    ],
    [
      'who is denied everything, which would take the roles of operators as well',
      { 'access.yaml': first('a.yaml'), 'a.yaml': `deny: [{user_id: 5}]\n${grants('a')}` },
      /^a\.yaml:1:1 only the first file may have "deny": move it there, or add "except" to each grant/,
    ],
    [
      'a grant that stands in two files',
      { 'access.yaml': first('a.yaml'), 'a.yaml': grants('first') },
      /^a\.yaml:2:3 the grant "first" is already defined at access\.yaml:4:3$/,
    ],
    [
      'an issuer that the first does not trust',
      { 'access.yaml': first('a.yaml'), 'a.yaml': `grants:\n${grant('a', '{issuer: okta}')}` },
      /^a\.yaml:2:13 unknown issuer "okta"/,
    ],
    [
      'more than a thousand grants',
      {
        'access.yaml': first('a.yaml', 'b.yaml', 'c.yaml'),
        ...Object.fromEntries(
          ['a', 'b', 'c'].map((file) => [
            `${file}.yaml`,
            grants(...Array.from({ length: 400 }, (_, n) => `${file}-${n}`)),
          ]),
        ),
      },
      /^c\.yaml:201:3 more than 1000 grants across all files$/,
    ],
    ['broken YAML', { 'access.yaml': first('a.yaml'), 'a.yaml': 'grants: [' }, /^a\.yaml:1:\d+ /],
    [
      'files deeper than four',
      {
        'access.yaml': first('1.yaml'),
        ...Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`${n}.yaml`, `include: [${n + 1}.yaml]\n`])),
      },
      /^4\.yaml:1:11 5\.yaml is nested more than 4 includes deep$/,
    ],
    [
      'a file of more than a megabyte',
      { 'access.yaml': first('a.yaml'), 'a.yaml': `# ${'x'.repeat(1024 * 1024)}` },
      /^access\.yaml:1:11 a\.yaml pushes the total size of all files above 1 MiB$/,
    ],
    [
      'more than a megabyte together',
      {
        'access.yaml': first('1.yaml', '2.yaml', '3.yaml', '4.yaml', '5.yaml'),
        ...Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`${n}.yaml`, `# ${'x'.repeat(220 * 1024)}\ngrants: {}\n`])),
      },
      /5\.yaml pushes the total size of all files above 1 MiB$/,
    ],
    [
      'more words and marks than are read, over all files',
      {
        'access.yaml': first('1.yaml', '2.yaml'),
        ...Object.fromEntries([1, 2].map((n) => [`${n}.yaml`, `grants: {}\n${'#\n'.repeat(45_000)}`])),
      },
      /^2\.yaml:1:1 this file and the files read before it have more than 150000 words, punctuation marks and line breaks$/,
    ],
    [
      'more than a hundred files',
      {
        'access.yaml': first('all.yaml', ...Array.from({ length: 99 }, (_, n) => `${n}.yaml`)),
        'all.yaml': 'grants: {}\n',
        ...Object.fromEntries(Array.from({ length: 99 }, (_, n) => [`${n}.yaml`, 'grants: {}\n'])),
      },
      /98\.yaml exceeds the limit of 100 files$/,
    ],
  ])('are refused where one includes %s', (_, files, message) => {
    expect(refusal(files).message).toMatch(message);
  });

  it('are refused where a link leads out', () => {
    const outside = mkdtempSync(join(tmpdir(), 'meshpass-outside-'));
    try {
      writeFileSync(join(outside, 'secret.yaml'), grants('secret'));
      symlinkSync(join(outside, 'secret.yaml'), join(dir, 'a.yaml'));
      expect(refusal({ 'access.yaml': first('a.yaml') }).message).toMatch(
        /^access\.yaml:1:11 a\.yaml is a symbolic link to a file outside the directory of the first file$/,
      );
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  it('are not read where the first cannot be', () => {
    expect(() => load()).toThrow(expect.objectContaining({ code: 'config_invalid' }));
  });
});
