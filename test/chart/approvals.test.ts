/** Objects of the chart for the page for approvals. */
import { expect, it } from 'vitest';
import { FIRST_INSTALL, find, type Rendered, render } from './helm.ts';

it('the proxy of the page for approvals, if one is set, is admitted and reaches the active broker', async () => {
  const pageFrom = [{ podSelector: { matchLabels: { app: 'proxy' } } }];
  const rules = (objects: readonly Rendered[]) => find(objects, 'NetworkPolicy', 'meshpass-broker').spec.ingress;
  const approvals = { pageUrl: 'https://approvals.example.com', pageFrom };
  const withPage = await render(FIRST_INSTALL, { approvals });
  const { args } = find(withPage, 'Deployment', 'meshpass-broker').spec.template.spec.containers[0];
  expect(args).toContain('--operator-url=https://approvals.example.com');
  expect(find(withPage, 'Service', 'meshpass-broker-page').spec).toMatchObject({
    type: 'ClusterIP',
    selector: { 'meshpass.dev/active': 'true' },
    ports: [{ port: 80, targetPort: 'operator' }],
  });
  expect(rules(withPage)).toContainEqual({ from: pageFrom, ports: [{ port: 'operator', protocol: 'TCP' }] });
  const without = await render(FIRST_INSTALL, { approvals: { pageFrom } });
  expect(rules(without)).toEqual(rules(await render(FIRST_INSTALL)));
  expect(without.some(({ metadata }) => metadata.name === 'meshpass-broker-page')).toBe(false);
});
