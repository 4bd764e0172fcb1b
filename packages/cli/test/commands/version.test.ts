/** `meshpass version`: which skew it warns of. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERSION } from '@meshpass/identity';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { writeCertificate } from '../../../broker/test/harness/certificate.ts';
import { explainVersionSkew } from '../../src/commands/version.ts';
import { run } from '../../src/program.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe('meshpass version', () => {
  it.each([
    ['0.3.0', '0.3.9', undefined],
    ['0.2.5', '0.3.0', undefined],
    ['0.4.0', '0.3.0', undefined],
    ['0.5.0', '0.3.0', /newer than the broker/],
    ['1.0.0', '0.9.0', /newer than the broker/],
    ['0.1.0', '0.3.0', /older than the broker/],
    ['unknown', '0.3.0', undefined],
  ])('of %s beside a broker of %s reports %s', (ours, theirs, said) => {
    if (said === undefined) expect(explainVersionSkew(ours, theirs)).toBeUndefined();
    else expect(explainVersionSkew(ours, theirs)).toMatch(said);
  });

  it('prints one JSON document', async () => {
    vi.stubEnv('MESHPASS_BROKER', undefined);
    const out: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
    expect(await run(['node', 'meshpass', 'version', '--output', 'json'])).toBe(0);
    expect(JSON.parse(out.join('\n'))).toEqual({ client: { version: VERSION, node: process.versions.node } });
  });

  it('retries until a broker answers, if requested', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'meshpass-version-'));
    const { certFile, keyFile } = await writeCertificate(dir);
    let asked = 0;
    const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (_request, response) => {
      asked += 1;
      response.writeHead(asked < 3 ? 503 : 200).end(JSON.stringify({ version: VERSION }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    vi.spyOn(console, 'log').mockImplementation(() => {});
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const ask = (...more: string[]) =>
      run(['node', 'meshpass', 'version', '--broker', url, '--ca-file', certFile, ...more]);
    expect([await ask(), await ask('--wait', '60')]).toEqual([3, 0]);
    expect(asked).toBe(3);
    server.close();
    rmSync(dir, { recursive: true });
  });

  it('reports that a broker cannot be reached, and that a retry may help', async () => {
    const errors: string[] = [];
    vi.spyOn(console, 'error').mockImplementation((text: string) => void errors.push(text));
    expect(await run(['node', 'meshpass', 'version', '--broker', 'https://127.0.0.1:1'])).toBe(3);
    expect(errors.join('')).toContain('agent_broker_unreachable');
  });
});
