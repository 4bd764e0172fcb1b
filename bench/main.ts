/**
 * `npm run bench`: what Meshpass costs, beside stock Istio in the same run, with ratios.
 *   npm run bench -- [data-path] [internet] [exchange] [plan] [lint] [evaluate] [--rounds N] [--seconds N] [--output json]
 *   npm run bench -- internet [--lines 20,40,80,80/1,150]   over lines with these round trips, ms, and losses, percent
 *   npm run bench -- --report     keeps what was measured in docs/performance/, and writes docs/performance.md with its plots
 * And how it holds, each with an exit code that says whether its goal is met:
 *   npm run bench -- ends [--runs N] [--lapses N] [--only WORDS]    from every cause to the last dead connection
 *   npm run bench -- sessions [--sessions N] [--seconds N] [--only STORE]   what idle sessions cost a broker
 *   npm run bench -- channel [--sessions N] [--seconds N]      the same, and an edge, when leases come over control connections
 *   npm run bench -- feature [--runs N] [--on lab|cluster]      from the start of a prebuilt dev container to the first answer
 *   npm run bench -- return [--sessions N]      agents that come back at once, their SVIDs expired
 */
import { parseArgs } from 'node:util';
import { benchEvaluate, printEvaluate } from './analysis/evaluate.ts';
import { benchLint, lintMissed, printLint } from './analysis/lint.ts';
import { benchPlan, printPlan } from './analysis/plan.ts';
import { benchChannel, channelMissed, channelTable } from './channel/bench.ts';
import { benchDataPath } from './data-path/bench.ts';
import { printDataPath } from './data-path/print.ts';
import { benchEnds, endsMissed, endsTable } from './ends/bench.ts';
import { benchExchange } from './exchange/bench.ts';
import { benchFeature, featureMissed, featureTable } from './feature/bench.ts';
import { benchInternet, readLines } from './internet/bench.ts';
import { printInternet } from './internet/print.ts';
import { report } from './report/report.ts';
import { benchReturn } from './return/bench.ts';
import { returnMissed, returnTable } from './return/print.ts';
import { benchSessions, sessionsMissed, sessionsTable } from './sessions/bench.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string' },
    runs: { type: 'string' },
    lapses: { type: 'string', default: '5' },
    lines: { type: 'string', default: '20,40,80,150,80/1' },
    report: { type: 'boolean', default: false },
    only: { type: 'string' },
    on: { type: 'string', default: 'lab' },
    sessions: { type: 'string', default: '10000' },
    output: { type: 'string', default: 'text' },
  },
});
const parts = positionals.length > 0 ? positionals : ['data-path', 'internet', 'exchange', 'plan', 'lint', 'evaluate'];
const { on } = values;
if (on !== 'lab' && on !== 'cluster') throw new Error(`--on is ${on}: lab or cluster`);
const progress = (line: string) => process.stderr.write(`… ${line}\n`);

const dataPath = parts.includes('data-path')
  ? await benchDataPath({ rounds: Number(values.rounds), seconds: Number(values.seconds ?? 4), progress })
  : undefined;
const internet = parts.includes('internet')
  ? await benchInternet({ lines: readLines(values.lines), rounds: Number(values.rounds), progress })
  : undefined;
const exchange = parts.includes('exchange') ? await benchExchange() : undefined;
const plan = parts.includes('plan') ? benchPlan(Number(values.rounds)) : undefined;
const lint = parts.includes('lint') ? await benchLint(Number(values.rounds), progress) : undefined;
const { only } = values;
const ends = parts.includes('ends')
  ? await benchEnds({ runs: Number(values.runs ?? 50), lapses: Number(values.lapses), only, progress })
  : undefined;
const sessions = parts.includes('sessions')
  ? await benchSessions({ sessions: Number(values.sessions), seconds: Number(values.seconds ?? 60), only, progress })
  : undefined;
const channel = parts.includes('channel')
  ? await benchChannel({ sessions: Number(values.sessions), seconds: Number(values.seconds ?? 60), progress })
  : undefined;
const feature = parts.includes('feature')
  ? await benchFeature({ on, runs: Number(values.runs ?? 20), progress })
  : undefined;
const returned = parts.includes('return')
  ? await benchReturn({ sessions: Number(values.sessions), progress })
  : undefined;
const evaluate = parts.includes('evaluate') ? benchEvaluate(Number(values.rounds)) : undefined;
if (values.output === 'json')
  console.log(
    JSON.stringify(
      { dataPath, internet, exchange, plan, lint, evaluate, ends, sessions, channel, feature, return: returned },
      null,
      2,
    ),
  );
else {
  if (dataPath) printDataPath(dataPath);
  if (internet) printInternet(internet);
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
  if (channel) for (const line of channelTable(channel)) console.log(line);
  if (feature) for (const line of featureTable(feature)) console.log(line);
  if (returned) for (const line of returnTable(returned)) console.log(line);
  if (evaluate) printEvaluate(evaluate);
}
if (values.report) for (const file of report({ dataPath, internet })) progress(`wrote ${file}`);
const missed = [
  ...(lint ? lintMissed(lint) : []),
  ...(ends ? endsMissed(ends) : []),
  ...(sessions ?? []).flatMap(sessionsMissed),
  ...(channel ? channelMissed(channel) : []),
  ...(feature ? featureMissed(feature) : []),
  ...(returned ? returnMissed(returned) : []),
];
for (const line of missed) console.error(`goal missed: ${line}`);
process.exit(missed.length > 0 ? 1 : 0);
