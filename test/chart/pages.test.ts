/** The chart accepts the values that the install pages show, each block upon those of a first install. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BUILD_MS, FIRST_INSTALL, find, type Rendered, render } from './helm.ts';

const PAGES = ['clouds', 'sizing', 'multi-cluster'] as const;

interface Block {
  /** `clouds.md, EKS, 2`. */
  readonly name: string;
  readonly values: object;
}

/** Blocks that begin with `yaml values`. All other YAML of the page is marked `yaml object`. */
function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(new URL(`../../docs/install/${page}.md`, import.meta.url), 'utf8');
  const blocks: Block[] = [];
  let section = '';
  for (const [, heading, kind, yaml] of text.matchAll(/^#+ (.+)$|^```yaml(.*)\n([\s\S]*?)^```/gm)) {
    section = heading ?? section;
    if (yaml === undefined) continue;
    if (kind === ' values') blocks.push({ name: `${page}.md, ${section}, ${blocks.length + 1}`, values: parse(yaml) });
    else expect(kind, `a block of ${page}.md is neither values nor an object`).toBe(' object');
  }
  return blocks;
}

const BLOCKS = PAGES.flatMap(blocksOf);
const named = (part: string): Block => BLOCKS.find(({ name }) => name.includes(part))!;

it.each(BLOCKS.map((block) => [block.name, block] as const))(
  'the chart accepts the values of %s',
  async (_name, { values }) => {
    const rendered = await render(FIRST_INSTALL, values);
    expect(rendered.map(({ kind }) => kind)).toContain('Deployment');
  },
  BUILD_MS,
);

const annotations = (objects: readonly Rendered[], part: string) =>
  find(objects, 'Service', `meshpass-${part}`).metadata.annotations ?? {};
const resources = (objects: readonly Rendered[], part: string) =>
  find(objects, 'Deployment', `meshpass-${part}`).spec.template.spec.containers[0].resources;

describe('they are in force', () => {
  it('on EKS: an NLB for each, which keeps the address of the client', async () => {
    const objects = await render(FIRST_INSTALL, named('EKS, 1').values);
    for (const part of ['broker', 'edge'])
      expect(annotations(objects, part)).toMatchObject({
        'service.beta.kubernetes.io/aws-load-balancer-type': 'external',
        'service.beta.kubernetes.io/aws-load-balancer-scheme': 'internet-facing',
      });
    const attributes = 'service.beta.kubernetes.io/aws-load-balancer-target-group-attributes';
    expect(annotations(objects, 'edge')[attributes]).toBe('preserve_client_ip.enabled=true');
  });

  it('on AKS: the istiod of the add-on', async () => {
    const objects = await render(FIRST_INSTALL, named('AKS').values);
    const [broker] = find(objects, 'Deployment', 'meshpass-broker').spec.template.spec.containers;
    expect(broker.args).toContain('--istiod=istiod-asm-1-28.aks-istio-system.svc:15012');
    expect(broker.args).toContain('--root-namespace=aks-istio-system');
    const gateway = find(objects, 'Deployment', 'meshpass-gateway').spec.template.metadata.labels;
    expect(gateway).toMatchObject({ 'istio.io/rev': 'asm-1-28' });
  });

  it('for every size: a broker that holds its processes that prove access files', async () => {
    const sizes = BLOCKS.filter(({ name }) => name.startsWith('sizing'));
    expect(sizes.length).toBeGreaterThan(3);
    for (const { name, values } of sizes) {
      const { memory } = resources(await render(FIRST_INSTALL, values), 'broker').limits;
      const [, number, unit] = /^(\d+)(Mi|Gi)$/.exec(memory)!;
      expect(Number(number) * (unit === 'Gi' ? 1024 : 1), name).toBeGreaterThanOrEqual(1024);
    }
  });

  it('for 10,000 sessions: more than the defaults', async () => {
    const ten = BLOCKS.filter(({ name }) => name.startsWith('sizing')).at(-1)!;
    const objects = await render(FIRST_INSTALL, ten.values);
    expect(resources(objects, 'edge')).toEqual({
      requests: { cpu: '1', memory: '768Mi' },
      limits: { memory: '2Gi' },
    });
    expect(find(objects, 'Deployment', 'meshpass-broker').spec.replicas).toBe(2);
  });
});
