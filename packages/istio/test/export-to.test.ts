import { expect, test } from 'vitest';
import { type Exported, isExportedTo, loadManifests, readMeshConfig } from '../src/index.ts';

const PRIVATE = `{defaultServiceExportTo: ['.'], defaultVirtualServiceExportTo: ['.'], defaultDestinationRuleExportTo: ['.']}`;
const LISTED = `{defaultServiceExportTo: [dev], defaultVirtualServiceExportTo: [dev], defaultDestinationRuleExportTo: [dev]}`;
const ALL = ['shop', 'dev', 'ops'];

function exportedTo(kind: Exported['kind'], spec: string, config = '{}', annotation = ''): readonly string[] {
  const group = kind === 'Service' ? 'v1' : 'networking.istio.io/v1';
  const text = `{apiVersion: ${group}, kind: ${kind}, metadata: {name: one, namespace: shop, annotations: {${annotation}}}, spec: ${spec}}`;
  const { resources, problems } = loadManifests(text, 'one.yaml');
  expect(problems).toEqual([]);
  return ALL.filter((namespace) => isExportedTo(resources[0] as Exported, namespace, readMeshConfig(config)));
}

test.each([
  ['{}', '{}', ALL],
  ["{exportTo: ['*']}", PRIVATE, ALL],
  ["{exportTo: ['.']}", '{}', ['shop']],
  ["{exportTo: ['.', dev]}", '{}', ['shop', 'dev']],
  ['{exportTo: [dev]}', '{}', ['dev']],
  ["{exportTo: ['~']}", '{}', []],
  ['{}', PRIVATE, ['shop']],
  ['{}', LISTED, ['dev']],
])('a VirtualService or ServiceEntry with %s in a mesh with %s is exported to %j', (spec, config, expected) => {
  expect(exportedTo('VirtualService', spec, config)).toEqual(expected);
  expect(exportedTo('ServiceEntry', spec, config)).toEqual(expected);
});

test.each([
  ['{}', PRIVATE, ['shop']],
  // istiod honours no other default than `.` and `*`.
  ['{}', LISTED, ALL],
  ["{exportTo: ['*']}", PRIVATE, ALL],
  ['{exportTo: [dev]}', '{}', ['dev']],
  ['{workloadSelector: {matchLabels: {app: web}}}', '{}', ['shop']],
])('a DestinationRule with %s in a mesh with %s is exported to %j', (spec, config, expected) => {
  expect(exportedTo('DestinationRule', spec, config)).toEqual(expected);
});

test.each([
  ['', '{}', ALL],
  ['', PRIVATE, ['shop']],
  ['networking.istio.io/exportTo: "., dev"', PRIVATE, ['shop', 'dev']],
  ['networking.istio.io/exportTo: "~"', '{}', []],
  ['networking.istio.io/exportTo: "~,dev"', '{}', []],
  ['networking.istio.io/exportTo: "~,*"', '{}', ALL],
])('a Service with {%s} in a mesh with %s is exported to %j', (annotation, config, expected) => {
  expect(exportedTo('Service', '{}', config, annotation)).toEqual(expected);
});
