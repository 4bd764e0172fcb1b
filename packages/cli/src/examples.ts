/** What people type, for the help of each command; a test holds every line against the flags that there are. */
import type { Command } from 'commander';
import { pathOf } from './command/usage.ts';

const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  up: ['meshpass up --broker https://broker.example.com', 'meshpass up --foreground --no-by-name'],
  down: ['meshpass down'],
  status: ['meshpass status --output json'],
  doctor: ['meshpass doctor', 'meshpass doctor --output json'],
  env: ['eval "$(meshpass env)"'],
  token: ['meshpass token --audience sts.amazonaws.com'],
  serve: [
    'meshpass serve --access access.yaml --public-url https://broker.example.com --tls-cert tls.crt --tls-key tls.key --data /var/lib/meshpass --edge-public edge.example.com:443',
  ],
  edge: [
    'meshpass edge --broker https://broker.example.com --broker-token token --tls-cert tls.crt --tls-key tls.key --mesh-gateway gateway:15443',
  ],
  'sessions list': ['meshpass sessions list --grant payments-dev', 'meshpass sessions list --output json'],
  'sessions close': [
    'meshpass sessions close --user mona --reason "left the team"',
    'meshpass sessions close --all --yes',
  ],
  rotate: ['meshpass rotate --status', 'meshpass rotate --wait --reason "yearly"'],
  'access check': ['meshpass access check access.yaml'],
  'audit verify': ['meshpass audit verify --file audit.jsonl --key key.txt'],
  'audit tail': ['meshpass audit tail --lines 50 --follow'],
  'audit export': ['meshpass audit export --to audit.jsonl', 'meshpass audit export --form ocsf --after 1000'],
  'audit checkpoint': ['meshpass audit checkpoint > checkpoint.txt'],
  'audit key': ['meshpass audit key > key.txt'],
  'audit prune': ['meshpass audit prune --before 2026-01-01 --yes'],
  'audit accept-restore': [
    'meshpass audit accept-restore --public-url https://broker.example.com --data /var/lib/meshpass',
    'meshpass audit accept-restore --public-url https://broker.example.com --data /var/lib/meshpass --reason "restored the backup of Monday" --yes',
  ],
  drill: ['meshpass drill --cause admin --rebuild --evidence drill.jws', 'meshpass drill --verify drill.jws'],
  'policy lint': ['meshpass policy lint mesh/', 'helm template shop | meshpass policy lint -'],
  'policy compile': [
    'meshpass policy compile --access access.yaml --public-url https://broker.example.com mesh/ > meshpass.yaml',
  ],
  'policy plan': [
    'meshpass policy plan --access new.yaml --from access.yaml --public-url https://broker.example.com mesh/',
  ],
  'policy diff': [
    'meshpass policy diff before/ after/ --exit-code',
    'meshpass policy diff --context services.yaml before.yaml after.yaml',
  ],
  'policy test': [
    'meshpass policy test cases.yaml --access access.yaml --public-url https://broker.example.com --manifests mesh/',
  ],
  'policy apply': ['meshpass policy apply --access access.yaml --broker https://broker.example.com --dry-run'],
  'policy history': ['meshpass policy history --broker https://broker.example.com'],
  'policy rollback': ['meshpass policy rollback 7 --broker http://127.0.0.1:9090 --reason "orders is broken"'],
  'policy can-i': ['meshpass policy can-i --as dev/web --to orders.shop:8080 --path /orders/1 mesh/'],
  'policy who-can': [
    'meshpass policy who-can orders.shop:8080 mesh/ --method POST --path /refunds',
    'meshpass policy who-can orders.shop:8080 mesh/ --path /orders/1 --access access.yaml',
  ],
  'policy matrix': ['meshpass policy matrix mesh/ --output json'],
};

/** Their codes mean more, and they say so themselves. */
const OWN_EXIT_CODES: readonly string[] = [
  'policy lint',
  'policy plan',
  'policy apply',
  'policy can-i',
  'policy diff',
  'policy who-can',
  'policy matrix',
];

/** Adds to the help of every command that does something its examples, and the exit codes where it has none of its own to explain. */
export function addExamples(command: Command, exitCodes: string): void {
  for (const inner of command.commands) addExamples(inner, exitCodes);
  const path = pathOf(command).replace(/^meshpass /, '');
  const lines = EXAMPLES[path];
  if (!lines) return;
  if (!OWN_EXIT_CODES.includes(path)) command.addHelpText('after', exitCodes);
  command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`);
}
