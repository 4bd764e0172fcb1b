/**
 * Determines the namespaces that objects are exported to. Sources: `initServiceRegistry`, `initVirtualServices` and
 * `setDestinationRules` in pilot/pkg/model/push_context.go of Istio 1.31.
 */
import { texts } from '../object/members.ts';
import type { Labels, Texts } from '../object/object.ts';
import type { ResourceOf } from '../object/resources.ts';
import type { MeshConfig } from './mesh-config.ts';

/** An object that istiod may export to some namespaces only. */
export type Exported =
  | ResourceOf<'VirtualService' | 'DestinationRule' | 'ServiceEntry'>
  | {
      readonly kind: 'Service';
      readonly metadata: { readonly namespace: string; readonly annotations?: Labels };
    };

/** The mesh's defaults for objects without `exportTo`. */
export type ExportDefaults = Pick<MeshConfig, 'serviceExportTo' | 'virtualServiceExportTo' | 'destinationRuleExportTo'>;

/** The annotation that Services use instead of the field `exportTo`, which they do not have. */
export const EXPORT_TO = 'networking.istio.io/exportTo';

/**
 * Returns the `exportTo` value that applies to an object: its own value, or the mesh's default for its kind. Values
 * such as `.` are not resolved.
 * @example
 * ```ts
 * import { exportToOf, readMeshConfig } from '@meshpass/istio';
 * const orders = { kind: 'Service', metadata: { namespace: 'shop' } } as const;
 * exportToOf(orders, {}); // => ['*']
 * exportToOf(orders, readMeshConfig('defaultServiceExportTo: ["."]')); // => ['.']
 * ```
 */
export function exportToOf(object: Exported, config: ExportDefaults): Texts {
  // istiod does not export rules with a workload selector beyond their own namespace.
  if (object.kind === 'DestinationRule' && object.spec.workloadSelector !== undefined) return ['.'];
  const own = ownExportTo(object);
  const applied = own.length > 0 ? own : defaultExportTo(object.kind, config);
  return applied.length > 0 ? applied : ['*'];
}

function ownExportTo(object: Exported): Texts {
  if (object.kind !== 'Service') return texts(object.spec.exportTo);
  const annotation = object.metadata.annotations?.[EXPORT_TO];
  return annotation ? annotation.split(',').map((one) => one.trim()) : [];
}

function defaultExportTo(kind: Exported['kind'], config: ExportDefaults): Texts {
  switch (kind) {
    case 'VirtualService':
      return texts(config.virtualServiceExportTo);
    case 'DestinationRule':
      // For DestinationRules, any default other than `.` means all namespaces.
      return texts(config.destinationRuleExportTo).includes('.') ? ['.'] : [];
    default:
      return texts(config.serviceExportTo);
  }
}

/**
 * Whether istiod exports an object to the proxies of a namespace. For a gateway, pass the namespace that its Pods run
 * in.
 * @example
 * ```ts
 * import { isExportedTo } from '@meshpass/istio';
 * const annotations = { 'networking.istio.io/exportTo': '., dev' };
 * const orders = { kind: 'Service', metadata: { namespace: 'shop', annotations } } as const;
 * ['shop', 'dev', 'ops'].map((namespace) => isExportedTo(orders, namespace, {})); // => [true, true, false]
 * ```
 */
export function isExportedTo(object: Exported, namespace: string, config: ExportDefaults): boolean {
  const exported = exportToOf(object, config);
  if (exported.includes('*')) return true;
  // `~` hides an object from all namespaces, regardless of any other values.
  if (exported.includes('~')) return false;
  return exported.includes(namespace) || (exported.includes('.') && object.metadata.namespace === namespace);
}
