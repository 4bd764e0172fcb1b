/** docs/performance.md and its plots are what `npm run bench -- --report` writes from the figures beside them. */
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DataPathResult, Figures } from '../../bench/data-path/bench.ts';
import type { InternetFigures, LineResult } from '../../bench/internet/bench.ts';
import { report } from '../../bench/report/report.ts';

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-report-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const read = (file: string) => readFileSync(join(folder, file), 'utf8');

function figures(perSecond: number): Figures {
  const requests = { perSecond, medianMicros: 400, cpuMicros: { client: 40, service: 60 } };
  const bulk = { megabytesPerSecond: 500, cpuMicros: { client: 1, service: 2 } };
  return { firstMs: 100, single: requests, sixteen: requests, bulk, memoryMegabytes: { Envoy: 70, agent: 50 } };
}

const dataPath: DataPathResult = {
  rounds: 3,
  sides: { straight: figures(4000), gateway: figures(2000), meshpass: figures(3000) },
};

function line(roundTripMs: number, lossPercent: number): LineResult {
  const one: InternetFigures = {
    upMs: 700,
    firstCallMs: 2 * roundTripMs,
    newConnectionMs: roundTripMs + 3,
    keptConnectionMs: roundTripMs + 2,
    bulkMegabytesPerSecond: 45,
    plainTlsMegabytesPerSecond: 50,
  };
  return { line: { roundTripMs, lossPercent }, sides: { gateway: one, meshpass: one } };
}

describe('a report', () => {
  it('has ratios to both peers, memory of all parts together, and goals', () => {
    report({ dataPath, internet: undefined }, folder);
    const page = read('performance.md');
    expect(page).toContain(
      '| requests a second, 16 connections | 4,000 | 2,000 | 3,000 | 0.75 | 1.50 | at least 1.1 |',
    );
    expect(page).toContain('| resident memory in the workspace | 120 MB | 120 MB | 120 MB |');
    expect(page).not.toContain('Over the internet');
  });

  it('has a row for each line and side, with the goals for its round trip', () => {
    report({ dataPath: undefined, internet: [line(40, 0), line(80, 1)] }, folder);
    const page = read('performance.md');
    expect(page).toContain('| 40 ms | gateway | 700 | 80 | 43 | 42 | 45 | 50 | 0.90 |');
    expect(page).toContain('| | *goal* | 680 | 80 | 45 | 45 |  |  | 0.95 |');
    expect(page).toContain('| 80 ms, 1 % lost | gateway |');
  });

  it('keeps a part that did not run this time', () => {
    report({ dataPath, internet: undefined }, folder);
    report({ dataPath: undefined, internet: [line(40, 0)] }, folder);
    expect(read('performance.md')).toMatch(/## On one machine[\s\S]*## Over the internet/);
  });

  it('draws plots with finite numbers, a title for screen readers, and nothing from another host', () => {
    report({ dataPath, internet: [line(20, 0), line(150, 0), line(80, 1)] }, folder);
    const plots = globSync(join(folder, 'performance/*.svg')).map((file) => readFileSync(file, 'utf8'));
    expect(plots).toHaveLength(4);
    for (const plot of plots) {
      expect(plot).toMatch(/^<svg [^>]*role="img"[^>]*>\n<title>[^<]+<\/title>/);
      expect(plot).not.toMatch(/NaN|Infinity|undefined|<script|<image|href/);
      expect(plot.match(/https?:[^"]*/g)).toEqual(['http://www.w3.org/2000/svg']);
    }
  });
});

it('the page and the plots are those of the figures beside them', () => {
  cpSync(join(DOCS, 'performance'), join(folder, 'performance'), { recursive: true });
  for (const file of report({ dataPath: undefined, internet: undefined }, folder))
    expect(readFileSync(file, 'utf8'), file).toBe(readFileSync(join(DOCS, relative(folder, file)), 'utf8'));
});
