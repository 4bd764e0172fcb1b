/**
 * `npm run bench`: what Meshpass costs, beside a stock Istio sidecar in the same run, with ratios.
 *   npm run bench -- [data-path] [exchange] [plan] [lint] [evaluate] [--rounds N] [--seconds N] [--output json]
 * And how it holds, each with an exit code that says whether its goal is met:
 *   npm run bench -- ends [--runs N] [--lapses N] [--only WORDS]    from every cause to the last dead connection
 *   npm run bench -- sessions [--sessions N] [--seconds N] [--only STORE]   what idle sessions cost a broker
 */
import { parseArgs } from 'node:util';
import { benchEvaluate, printEvaluate } from './analysis/evaluate.ts';
import { benchLint, printLint } from './analysis/lint.ts';
import { benchPlan, printPlan } from './analysis/plan.ts';
import { benchDataPath, type DataPathResult, type Figures } from './data-path/bench.ts';
import type { CpuMicros } from './data-path/cpu.ts';
import { benchEnds, endsMissed, endsTable } from './ends/bench.ts';
import { benchExchange } from './exchange/bench.ts';
import { benchSessions, sessionsMissed, sessionsTable } from './sessions/bench.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string' },
    runs: { type: 'string', default: '50' },
    lapses: { type: 'string', default: '5' },
    only: { type: 'string' },
    sessions: { type: 'string', default: '10000' },
    output: { type: 'string', default: 'text' },
  },
});
const parts = positionals.length > 0 ? positionals : ['data-path', 'exchange', 'plan', 'lint', 'evaluate'];
const progress = (line: string) => process.stderr.write(`… ${line}\n`);

const dataPath = parts.includes('data-path')
  ? await benchDataPath({ rounds: Number(values.rounds), seconds: Number(values.seconds ?? 4), progress })
  : undefined;
const exchange = parts.includes('exchange') ? await benchExchange() : undefined;
const plan = parts.includes('plan') ? benchPlan(Number(values.rounds)) : undefined;
const lint = parts.includes('lint') ? await benchLint(Number(values.rounds), progress) : undefined;
const { only } = values;
const ends = parts.includes('ends')
  ? await benchEnds({ runs: Number(values.runs), lapses: Number(values.lapses), only, progress })
  : undefined;
const sessions = parts.includes('sessions')
  ? await benchSessions({ sessions: Number(values.sessions), seconds: Number(values.seconds ?? 60), only, progress })
  : undefined;
const evaluate = parts.includes('evaluate') ? benchEvaluate(Number(values.rounds)) : undefined;
if (values.output === 'json')
  console.log(JSON.stringify({ dataPath, exchange, plan, lint, evaluate, ends, sessions }, null, 2));
else {
  if (dataPath) printDataPath(dataPath);
  if (lint) printLint(lint);
  if (exchange) {
    console.log(
      `\nThe broker's exchanges, OIDC proof to session, one core, durable audit row each (${exchange.store}):`,
    );
    console.log(
      `  ${Math.round(exchange.perSecond)} a second, p99 ${exchange.p99.toFixed(1)} ms  (aim: 1,000 a second)`,
    );
  }
  if (plan) printPlan(plan);
  if (ends) {
    console.log('\nFrom the cause to the last dead connection through the edge: median / worst, ms.\n');
    for (const line of endsTable(ends)) console.log(line);
  }
  if (sessions) for (const line of sessionsTable(sessions)) console.log(line);
  if (evaluate) printEvaluate(evaluate);
}
const missed = [...(ends ? endsMissed(ends) : []), ...(sessions ?? []).flatMap(sessionsMissed)];
for (const line of missed) console.error(`goal missed: ${line}`);
process.exit(missed.length > 0 ? 1 : 0);

function printDataPath({ stock, meshpass, rounds }: DataPathResult): void {
  console.log(`\nThe whole dataPath (agent, edge, gateway, sidecar) beside a stock sidecar straight to the pod.`);
  console.log(`Medians of ${rounds} rounds taken in turns; both carry the same token on every request.\n`);
  const row = (what: string, unit: string, pick: (figures: Figures) => number, goal: string) => {
    const [ours, theirs] = [pick(meshpass), pick(stock)];
    const cells = [
      `${Math.round(theirs)} ${unit}`.padStart(14),
      `${Math.round(ours)} ${unit}`.padStart(14),
      (ours / theirs).toFixed(2).padStart(7),
    ];
    console.log(`  ${what.padEnd(30)}${cells.join('')}   ${goal}`);
  };
  console.log(`  ${''.padEnd(30)}${'stock'.padStart(14)}${'Meshpass'.padStart(14)}${'ratio'.padStart(7)}   goal`);
  row('launch to first 200', 'ms', (one) => one.firstMs, 'at most 1000 ms, aim 400');
  row('requests/s, 1 connection', '/s', (one) => one.single.perSecond, '');
  row('median, 1 connection', 'us', (one) => one.single.medianMicros, 'at most 1.1, aim 0.9');
  row('requests/s, 16 connections', '/s', (one) => one.sixteen.perSecond, 'at least 1.0, aim 1.2');
  row('median, 16 connections', 'us', (one) => one.sixteen.medianMicros, '');
  row('bulk download', 'MB/s', (one) => one.bulk.megabytesPerSecond, 'at least 0.75');
  row('resident memory after it all', 'MB', (one) => one.memoryMegabytes, 'aim under 80 MB');

  console.log('\nCPU time by part: us for a request at 1 and at 16 connections, us for a megabyte of bulk.\n');
  printCpu('stock', stock);
  printCpu('Meshpass', meshpass);
}

function printCpu(name: string, { single, sixteen, bulk }: Figures): void {
  const line = (part: string, pick: (cpu: CpuMicros) => number) => {
    const cells = [single, sixteen, bulk].map(({ cpuMicros }) => pick(cpuMicros).toFixed(0).padStart(9));
    console.log(`  ${part.padEnd(30)}${cells.join('')}`);
  };
  console.log(`  ${name.padEnd(30)}${['1', '16', 'bulk'].map((column) => column.padStart(9)).join('')}`);
  for (const part of Object.keys(single.cpuMicros)) line(`  ${part}`, (cpu) => cpu[part]!);
  line('  all', (cpu) => Object.values(cpu).reduce((sum, micros) => sum + micros, 0));
  console.log('');
}
