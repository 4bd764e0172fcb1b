import type { Lab } from '@meshpass/lab';

/** Prints the body, and the status on a line of its own. */
export const CURL = ['curl', '-sS', '-m', '10', '-w', '\n%{http_code}'];
/** A query of the sample database; its host comes last. */
export const SQL = ['psql', '-U', 'ledger', '-At', '-c', 'select sum(cents) from ledger', 'ledger', '-h'];

/** Results of a workload that has always been in the mesh. */
export async function trafficInTheMesh(lab: Lab): Promise<Record<string, string>> {
  const orders = 'http://orders.shop:8080';
  const whoami = ['-H', 'x-request-id: same', `${orders}/whoami`];
  const asked: Record<string, readonly string[]> = {
    order: [...CURL, `${orders}/orders/1`],
    admin: [...CURL, `${orders}/admin/x`],
    refund: [...CURL, '-X', 'POST', `${orders}/refunds`],
    'not found': [...CURL, `${orders}/nothing`],
    'who am I': [...CURL, ...whoami],
    'with an authorization of its own': [...CURL, '-H', 'authorization: Bearer eyJhbGciOiJub25lIn0.e30.', ...whoami],
    'another port': [...CURL, 'http://orders.shop:9090/'],
    'another namespace': [...CURL, 'http://web.dev:80/'],
    database: [...SQL, 'ledger-db.shop'],
  };
  const answers: Record<string, string> = {};
  for (const [name, argv] of Object.entries(asked)) {
    const { stdout, code } = await lab.exec('client', argv, { env: { PGCONNECT_TIMEOUT: '5' } });
    answers[name] = `${code} ${stdout}`;
  }
  return answers;
}
