/** Envoy's bootstrap in a workspace beside the one that Istio generates for a sidecar. */

/** A workspace has one bootstrap, which follows the release that the lab has by default. */
const OF_OLDER_RELEASES: Readonly<Record<string, string>> = {
  'layered_runtime/layers/global config/static_layer/envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update':
    'Istio sets it since 1.31.',
};

/** Reasons for differences, by path of the key; keys below it may also differ. All other keys must be equal. */
export const REASONS: Readonly<Record<string, string>> = {
  application_log_config: 'The agent reads what Envoy writes, in its own format.',
  node: 'The agent configures this Envoy, not istiod: it asks for no node.',
  'layered_runtime/layers/global config/static_layer/envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst':
    'No listener of a workspace captures traffic.',
  'layered_runtime/layers/global config/static_layer/envoy.reloadable_features.fixed_heap_use_allocated':
    'Neither bootstrap has a monitor of the heap, which alone reads it.',
  'layered_runtime/layers/admin': 'Nothing changes the runtime while Envoy runs.',
  'bootstrap_extensions/envoy.bootstrap.internal_listener/typed_config/buffer_size_kb':
    'Every byte to the mesh passes an internal listener, as only HBONE does in a sidecar: it has the default of Envoy.',
  stats_config: 'Nothing scrapes a workspace. The agent reads some counters from the administration interface.',
  admin: 'A Unix socket that only its owner can open, instead of a port that every local process reaches.',
  'dynamic_resources/lds_config/initial_fetch_timeout':
    'Envoy becomes ready without a configuration: the agent has nothing to give while the broker does not answer.',
  'dynamic_resources/cds_config/initial_fetch_timeout': 'As for listeners.',
  'dynamic_resources/ads_config/api_type': 'The agent serves the state of the world, not differences.',
  'dynamic_resources/ads_config/set_node_on_first_message_only': 'The node is two words.',
  'dynamic_resources/ads_config/grpc_services': 'The cluster of the agent has another name.',
  static_resources: 'The agent is the only static cluster, and there is no listener for Prometheus.',
  'overload_manager/resource_monitors/envoy.resource_monitors.global_downstream_max_connections/typed_config/max_active_downstream_connections':
    'Istio sets no limit in effect. A workspace has one, so that a program in a loop does not fill its memory.',
  deferred_stat_options: 'A workspace has the statistics of its grants, not of the mesh.',
  ...(process.env.MESHPASS_LAB_ISTIO ? OF_OLDER_RELEASES : {}),
};

type Json = unknown;
type Members = Readonly<Record<string, Json>>;

/** @returns paths of the outermost keys that one of the two lacks, or that have different values */
export function differences(ours: Json, istio: Json, path = ''): readonly string[] {
  const [one, other] = [members(ours), members(istio)];
  if (!one || !other) return JSON.stringify(ours) === JSON.stringify(istio) ? [] : [path];
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].flatMap((key) => differences(one[key], other[key], path === '' ? key : `${path}/${key}`));
}

/** @returns the key of REASONS that covers the path */
export function reasonFor(path: string): string | undefined {
  return Object.keys(REASONS).find((known) => path === known || path.startsWith(`${known}/`));
}

/** Entries of an object, or of a list whose items have names. A `TypedStruct` is another way to write the message in it. */
function members(value: Json): Members | undefined {
  if (Array.isArray(value)) {
    const named = value.every((item) => typeof (item as { name?: Json })?.name === 'string');
    return named && value.length > 0 ? Object.fromEntries(value.map((item) => [item.name, item])) : undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { '@type': type, type_url: url, value: inner, ...more } = value as Members;
  if (!String(type).endsWith('udpa.type.v1.TypedStruct')) return value as Members;
  return { ...more, '@type': url, ...(inner as Members) };
}
