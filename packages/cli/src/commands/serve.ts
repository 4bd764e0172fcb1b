import { defineCommand } from '../command/define.ts';
import { serveFlags } from '../serve/flags.ts';

export const command = defineCommand({
  about: 'Runs until SIGTERM or SIGINT. With PostgreSQL, several brokers can run: one active, the others on standby.',
  flags: serveFlags,
  exitCodes: {
    0: 'ended by a signal',
    1: 'failed',
    3: 'lost the store to another broker, or a required component does not respond; start again',
  },
  examples: [
    'meshpass serve --access access.yaml --public-url https://broker.example.com --tls-cert tls.crt --tls-key tls.key --data /var/lib/meshpass --edge-public edge.example.com:443',
  ],
  page: 'docs/operating-broker.md',
  run: async (options) => {
    const { startBroker } = await import('../serve/start-broker.ts');
    await startBroker(options);
  },
});
