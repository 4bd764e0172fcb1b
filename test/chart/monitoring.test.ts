/** Alerts and dashboards of the chart: about metrics that there are, each alert with a page that says what to do. */
import { readdirSync, readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { createMetrics } from '@meshpass/broker/base/telemetry/metrics';
import { formatStats } from '@meshpass/edge';
import { ERROR_CODES, VERSION } from '@meshpass/identity';
import { beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BUILD_MS, CHART, find, PRODUCTION, type Rendered, render } from './helm.ts';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook_url: string };
}

const RUNBOOKS = new URL('../../docs/runbooks/', import.meta.url);
const alerts: Alert[] = parse(readFileSync(`${CHART}files/alerts.yaml`, 'utf8')).groups[0].rules;
const dashboards = readdirSync(`${CHART}dashboards`).map(
  (name) => [name, readFileSync(`${CHART}dashboards/${name}`, 'utf8')] as const,
);

let objects: Rendered[];
beforeAll(async () => {
  objects = await render(PRODUCTION);
}, BUILD_MS);

/** Metrics of broker and edge after their start. */
async function atTheStart(): Promise<string> {
  const edge = formatStats({
    connections: 0,
    strangers: 0,
    warm: 0,
    tunnels: 0,
    control: 0,
    sessions: 0,
    directory: 'fresh',
    silentMs: 0,
    draining: false,
    accepted: 0,
    evicted: 0,
    handshakes: 0,
    resumed: 0,
    allowed: 0,
    ended: 0,
    refused: {},
    bytesIn: 0,
    bytesOut: 0,
    certificate: { notBefore: 0, notAfter: 0 },
  });
  return `${await createMetrics().registry.metrics()}\n${edge}`;
}

async function exported(): Promise<ReadonlySet<string>> {
  const text = await atTheStart();
  const names = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((part) => name! + part) : [name!],
  );
  return new Set(names);
}

it.each([['alerts', JSON.stringify(alerts.map(({ expr }) => expr))] as const, ...dashboards])(
  '%s: every metric is one that broker or edge exports',
  async (_name, text) => {
    const known = await exported();
    const asked = new Set(text.match(/\bmeshpass_[a-z_]+/g));
    expect(asked.size).toBeGreaterThan(5);
    expect([...asked].filter((name) => !known.has(name))).toEqual([]);
  },
);

it("every metric of the edge and the broker's own is on a dashboard", async () => {
  const shown = dashboards.map(([, text]) => text).join();
  const own = [...(await exported())].filter((name) => name.startsWith('meshpass_') && !/_(sum|count)$/.test(name));
  // Metrics of versions, ages and costs of transactions.
  const beside = [
    'meshpass_build_info',
    'meshpass_signing_key_since_seconds',
    'meshpass_tls_certificate_not_before_timestamp_seconds',
    'meshpass_github_events_total',
    'meshpass_journal_batch_entries_bucket',
  ];
  expect(own.filter((name) => !shown.includes(name) && !beside.includes(name))).toEqual([]);
});

it('codes that alerts ask for are codes that there are', () => {
  const codes = alerts.flatMap(({ expr }) =>
    [...expr.matchAll(/code=~?"([^"]+)"/g)].flatMap(([, list]) => list!.split('|')),
  );
  expect(codes.length).toBeGreaterThan(3);
  expect(codes.filter((code) => !(ERROR_CODES as readonly string[]).includes(code))).toEqual([]);
});

it('counters of alerts begin at zero, because to Prometheus a series that begins at one has not increased', async () => {
  const shown = await atTheStart();
  const counted = alerts.flatMap(({ expr }) => [
    ...expr.matchAll(/increase\((?<name>\w+)(?:\{(?<label>\w+)=~?"(?<values>[^"]+)"\})?\[/g),
  ]);
  expect(counted.length).toBeGreaterThan(7);
  const series = counted.flatMap(({ groups }) => {
    const { name, label, values } = groups!;
    return label === undefined ? [name] : values!.split('|').map((value) => `${name}{${label}="${value}"}`);
  });
  // A webhook has its series with its first try.
  const known = series.filter((one) => !one!.startsWith('meshpass_approval_webhooks_total'));
  expect(known.filter((one) => !shown.includes(`\n${one} 0\n`))).toEqual([]);
});

it.each(alerts.map((alert) => [alert.alert, alert] as const))(
  '%s has a page, which has its expression and its severity',
  (name, alert) => {
    const url = 'https://github.com/meshpass/meshpass/blob/main/docs/runbooks/';
    expect(alert.annotations.runbook_url.startsWith(url)).toBe(true);
    const page = readFileSync(new URL(alert.annotations.runbook_url.slice(url.length), RUNBOOKS), 'utf8');
    expect(page).toContain(`# ${name}\n`);
    expect(page).toContain(`    ${alert.expr}\n`);
    expect(page).toContain(`**${alert.annotations.summary}.** Severity: ${alert.labels.severity}.`);
    for (const section of ['## What it means', '## Look', '## Fix']) expect(page).toContain(section);
  },
);

/** PromQL of one series means the same in JavaScript if it consists of comparisons and differences. */
function fires(name: string, life: { readonly notBefore: number; readonly notAfter: number }, now: number): boolean {
  const { expr } = alerts.find(({ alert }) => alert === name)!;
  const text = expr
    .replace(/^min by \(component\) \((.*)\)$/, '$1')
    .replaceAll('meshpass_tls_certificate_not_after_timestamp_seconds', String(life.notAfter))
    .replaceAll('meshpass_tls_certificate_not_before_timestamp_seconds', String(life.notBefore))
    .replaceAll('time()', String(now))
    .replaceAll(' and ', ' && ');
  expect(text).toMatch(/^[\d\s.()<>*/&-]+$/);
  return runInNewContext(text) as boolean;
}

const HOURS = 3600;
const DAYS = 86_400;
it.each([
  ['of 90 days, renewed by cert-manager with 30 left', 90 * DAYS, 29 * DAYS, []],
  ['of 90 days that cert-manager has not renewed for two weeks', 90 * DAYS, 13 * DAYS, ['NotRenewed']],
  ['of 90 days, at its end', 90 * DAYS, 2 * DAYS, ['NotRenewed', 'Expiring']],
  ['of a year, made by hand', 365 * DAYS, 20 * DAYS, []],
  ['of a year, made by hand, with two weeks left', 365 * DAYS, 13 * DAYS, ['NotRenewed']],
  ['of a day, renewed by cert-manager with 8 hours left', DAYS, 7.9 * HOURS, []],
  ['of a day that was not renewed', DAYS, 5 * HOURS, ['NotRenewed']],
  ['of a day, at its end', DAYS, 2 * HOURS, ['NotRenewed', 'Expiring']],
  ['that has expired', 90 * DAYS, -60, ['NotRenewed', 'Expiring']],
] as const)('of a certificate %s, the right ones fire', (_, lives, left, wanted) => {
  const now = 1_800_000_000;
  const life = { notBefore: now + left - lives, notAfter: now + left };
  const names = ['NotRenewed', 'Expiring'].filter((name) => fires(`MeshpassCertificate${name}`, life, now));
  expect(names).toEqual(wanted);
});

it('there is a page for no other alert, and the list has them all', () => {
  const files = readdirSync(RUNBOOKS, { recursive: true, encoding: 'utf8' });
  const pages = files.filter((name) => name.endsWith('.md') && name !== 'README.md');
  const named = alerts.map(({ annotations }) => annotations.runbook_url.split('/docs/runbooks/').at(-1)!);
  expect(pages.sort()).toEqual(named.sort());
  const list = readFileSync(new URL('README.md', RUNBOOKS), 'utf8');
  for (const { alert } of alerts) expect(list).toContain(`[${alert}]`);
});

it('are installed unchanged if enabled, with the labels that an operator selects', () => {
  const rule = find(objects, 'PrometheusRule', 'meshpass');
  // With the runbooks of the version that is installed.
  const ofVersion = (url: string) => url.replace('/blob/main/', `/blob/v${VERSION}/`);
  const installed = alerts.map(({ annotations, ...alert }) => {
    return { ...alert, annotations: { ...annotations, runbook_url: ofVersion(annotations.runbook_url) } };
  });
  expect(installed[0]!.annotations.runbook_url).toContain(`/blob/v${VERSION}/docs/runbooks/`);
  expect(rule.spec.groups[0].rules).toEqual(installed);
  expect(rule.metadata.labels).toMatchObject({ release: 'prometheus' });
  for (const [name, text] of dashboards) {
    const map = find(objects, 'ConfigMap', `meshpass-dashboard-${name.replace('.json', '')}`);
    expect(JSON.parse(map.data[name])).toEqual(JSON.parse(text));
    expect(map.metadata.labels).toMatchObject({ grafana_dashboard: '1', release: 'prometheus' });
  }
  for (const part of ['broker', 'edge']) {
    const { selector, endpoints } = find(objects, 'ServiceMonitor', `meshpass-${part}`).spec;
    const service = find(objects, 'Service', `meshpass-${part}-operator`);
    expect(service.metadata.labels).toMatchObject(selector.matchLabels);
    expect(service.spec.ports.map(({ name }: { name: string }) => name)).toContain(endpoints[0].port);
  }
});
