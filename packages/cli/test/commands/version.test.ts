/** `meshpass version`: which skew it warns of. */
import { VERSION } from '@meshpass/identity/version';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { skewOf } from '../../src/commands/version.ts';
import { run } from '../../src/program.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe('meshpass version', () => {
  it.each([
    ['0.3.0', '0.3.9', undefined],
    ['0.2.5', '0.3.0', undefined],
    ['0.4.0', '0.3.0', /newer than the broker/],
    ['1.0.0', '0.9.0', /newer than the broker/],
    ['0.1.0', '0.3.0', /older than the broker/],
    ['unknown', '0.3.0', undefined],
  ])('of %s beside a broker of %s says %s', (ours, theirs, said) => {
    if (said === undefined) expect(skewOf(ours, theirs)).toBeUndefined();
    else expect(skewOf(ours, theirs)).toMatch(said);
  });

  it('prints one JSON document', async () => {
    vi.stubEnv('MESHPASS_BROKER', undefined);
    const out: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
    expect(await run(['node', 'meshpass', 'version', '--output', 'json'])).toBe(0);
    expect(JSON.parse(out.join('\n'))).toEqual({ client: { version: VERSION, node: process.versions.node } });
  });

  it('says that a broker cannot be reached, and that trying again may help', async () => {
    const errors: string[] = [];
    vi.spyOn(console, 'error').mockImplementation((text: string) => void errors.push(text));
    expect(await run(['node', 'meshpass', 'version', '--broker', 'https://127.0.0.1:1'])).toBe(3);
    expect(errors.join('')).toContain('agent_broker_unreachable');
  });
});
