/** Actions of the audit log: the code, docs/interfaces/audit-actions.md and the export agree. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import MAPPING from '../../src/audit/export/ocsf.json' with { type: 'json' };
import { ocsfEvents } from '../../src/audit/export/ocsf.ts';
import { GENESIS_HASH, seal } from '../../src/audit/log/chain.ts';

const AUDIT_ACTIONS = Object.keys(MAPPING.actions);
const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));
const PAGE = readFileSync(new URL('../../../../docs/interfaces/audit-actions.md', import.meta.url), 'utf8');
const ROWS = [...PAGE.matchAll(/^\| `([^`]+)` \| (.+) \| ([^|]+) \|$/gm)].map(([, action, when, name]) => ({
  action: action!,
  when: when!,
  className: name!.trim(),
}));
const NOTHING = {
  subject: null,
  login: null,
  issuer: null,
  session_id: null,
  workspace: null,
  grant_name: null,
  rule: null,
  target: null,
  proof_hash: null,
  source: null,
  request_id: null,
  detail: null,
  code: null,
  reason: '',
};

describe('actions of the audit log', () => {
  it('are all on their page, each once, and nothing else is', () => {
    expect(ROWS.map(({ action }) => action).toSorted()).toEqual([...AUDIT_ACTIONS].toSorted());
  });

  it('are all written by some part of the broker', () => {
    const files = globSync('**/*.ts', { cwd: SOURCES }).filter(
      (file) => !/audit\/(log\/event|export\/ocsf)\.ts$/.test(file),
    );
    const text = files.map((file) => readFileSync(`${SOURCES}/${file}`, 'utf8')).join('\n');
    expect(AUDIT_ACTIONS.filter((action) => !text.includes(`'${action}'`))).toEqual([]);
  });

  it.each(ROWS)('$action is exported as $className, as the page says', ({ action, className }) => {
    const row = { id: 'x', time: '2026-05-01T10:00:00.000Z', action, outcome: 'allowed', ...NOTHING };
    const [event] = ocsfEvents(seal([row], { seq: 0, hash: GENESIS_HASH })[0]!);
    expect(event!.class_name).toBe(className);
  });
});
