/**
 * The random mixed load as a process of its own, for hosts of the lab; prints its report as JSON.
 *
 *   node test/protocols/mixed-load/main.ts HOST PORT SEED REQUESTS
 */
import { runMixedLoad } from './run.ts';

const PROGRAMS = 24;

const [host, port, seed, requests] = process.argv.slice(2);
const report = await runMixedLoad({
  host: host!,
  port: Number(port),
  programs: PROGRAMS,
  seed: Number(seed),
  requests: Number(requests),
});
console.log(JSON.stringify(report));
process.exit(0);
