import { describe, expect, it } from 'vitest';
import { differs, readPage } from './page.ts';
import { readSections } from './sections.ts';

const PAGE = `# Install

Write this:

\`\`\`yaml access.yaml
grants: []
\`\`\`

\`\`\`sh
kubectl get pods
\`\`\`

\`\`\`text
NAME    READY
x-…     1/1
\`\`\`

\`\`\`sh codespace
curl http://orders.shop:8080/whoami
\`\`\`

\`\`\`sh beside
kubectl port-forward pod/x 9090
\`\`\`

\`\`\`sh exit 4
meshpass check --before
\`\`\`

\`\`\`sh skip: needs a cloud
gcloud container clusters list
\`\`\`
`;

describe('a page of commands', () => {
  it('consists of files, commands with their output, and parts that are not run', () => {
    expect(readPage(PAGE)).toEqual([
      { kind: 'file', name: 'access.yaml', text: 'grants: []\n', line: 6 },
      {
        kind: 'command',
        place: 'operator',
        script: 'kubectl get pods\n',
        prints: 'NAME    READY\nx-…     1/1\n',
        line: 10,
      },
      { kind: 'command', place: 'codespace', script: 'curl http://orders.shop:8080/whoami\n', line: 19 },
      { kind: 'command', place: 'beside', script: 'kubectl port-forward pod/x 9090\n', line: 23 },
      { kind: 'command', place: 'operator', script: 'meshpass check --before\n', exit: 4, line: 27 },
      { kind: 'skipped', script: 'gcloud container clusters list\n', reason: 'needs a cloud', line: 31 },
    ]);
  });

  it.each([
    ['```text\nhello\n```\n', 'line 2: output of no command'],
    ['```sh codespaces\nls\n```\n', 'line 2: "sh codespaces" is not understood'],
    ['```sh exit 0\nls\n```\n', 'line 2: "sh exit 0" is not understood'],
    ['```yaml\na: b\n```\n', 'line 2: a block of yaml does not name a file'],
  ])('with %j is refused', (text, message) => {
    expect(() => readPage(text)).toThrow(message);
  });
});

describe('a page by its headings', () => {
  it('has the steps of each section, with their lines on the page', () => {
    const page = '# Page\n\n## One\n\n```sh\nls\n```\n\n### Two\n\nText.\n\n## Three\n\n```sh\npwd\n```\n';
    expect([...readSections(page)]).toEqual([
      ['One', [{ kind: 'command', place: 'operator', script: 'ls\n', line: 6 }]],
      ['Two', []],
      ['Three', [{ kind: 'command', place: 'operator', script: 'pwd\n', line: 16 }]],
    ]);
  });

  it('has no two sections of one name', () => {
    expect(() => readSections('## One\n\n## One\n')).toThrow('two sections One');
  });
});

describe('output of a command', () => {
  it.each([
    ['NAME    READY\nx-…     1/1\n', 'NAME                READY\nx-5d8f9-abcde   1/1   \n'],
    ['first\n...\nlast\n', 'first\nsecond\nthird\nlast\n'],
    ['...\nlast\n', 'last\n'],
    ['costs $1 (a+b)\n', 'costs $1 (a+b)'],
  ])('may be %j for %j', (wanted, printed) => {
    expect(differs(wanted, printed)).toBeUndefined();
  });

  it.each([
    ['x-… 1/1\n', 'x-5d8f9 0/1\n'],
    ['first\n', 'first\nsecond\n'],
    ['first\n...\nlast\n', 'first\nsecond\n'],
    ['a.b\n', 'axb\n'],
    ['a\n', ''],
  ])('is not %j for %j', (wanted, printed) => {
    expect(differs(wanted, printed)).toContain('the page says');
  });
});
