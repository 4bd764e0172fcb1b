/** Calls that are granted: HTTP by name, and psql. */
import type { OpenCodespace } from './codespace.ts';
import { expectThat, type Scene, typed } from './scene.ts';

interface Whoami {
  readonly principal: string;
  readonly identity: Readonly<Record<string, string>>;
}

export async function firstCalls(scene: Scene, { upAt, status }: OpenCodespace): Promise<void> {
  const { story } = scene;
  story.chapter('First calls', 'by cluster name, with no configuration');
  const { stdout } = await typed(scene, ['curl', '-sS', 'http://orders.shop:8080/whoami']);
  const milliseconds = Math.round(performance.now() - upAt);
  const saw = JSON.parse(stdout) as Whoami;
  story.done(`200, ${milliseconds} ms after \`meshpass up\``);
  const svid = status.credentials.svids[0]?.spiffeId;
  expectThat(saw.principal === svid, `orders.shop saw ${saw.principal}, not ${svid}`);
  story.done(`orders.shop saw the certificate of ${saw.principal}`);
  const seen = Object.entries(saw.identity).map(([name, value]) => `${name}: ${value}`);
  expectThat(saw.identity['x-meshpass-login'] === 'alice', 'orders.shop did not see who called');
  story.done(`and, from the verified token, ${seen.join(', ')}`);

  const query = 'select account, cents from ledger order by id limit 2';
  const psql = await typed(scene, ['psql', '-h', 'ledger-db.shop', '-U', 'ledger', 'ledger', '-tAc', query]);
  story.done(`PostgreSQL through the mesh: ${psql.stdout.trim().split('\n').join(', ')}`);
}
