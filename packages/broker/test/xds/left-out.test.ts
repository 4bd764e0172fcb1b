import type { JsonValue } from '@bufbuild/protobuf';
import { checkConfiguration } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import {
  at,
  EXPECTED,
  managerOf,
  named,
  ORDERS_CLUSTER,
  ORDERS_LISTENER,
  ORDERS_ROUTES,
  text,
  transformed,
} from './istiod-answers.ts';

describe('what others add with EnvoyFilters', () => {
  const SECRET = 'hunter2-of-another-team';
  const struct = { '@type': 'type.googleapis.com/google.protobuf.Struct', value: { key: SECRET } };

  it('is left out, named and counted', () => {
    const set = transformed(({ listeners, clusters, routes }) => {
      const listener = named(listeners, ORDERS_LISTENER);
      const manager = managerOf(listener);
      const lua = '@type=type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'.slice('@type='.length);
      (manager.http_filters as JsonValue[]).unshift(
        { name: 'lua', typed_config: { '@type': lua, default_source_code: { inline_string: SECRET } } },
        { name: 'other', typed_config: struct },
      );
      manager.access_log = [
        {
          name: 'file',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: SECRET,
          },
        },
      ];
      listener.metadata = { filter_metadata: { team: { password: SECRET } } };
      at(listener, 'filter_chains', 0).metadata = { filter_metadata: { team: { password: SECRET } } };
      named(clusters, ORDERS_CLUSTER).metadata = { filter_metadata: { team: { password: SECRET } } };
      named(clusters, ORDERS_CLUSTER).upstream_bind_config = {
        source_address: { address: '10.9.9.9', port_value: 0 },
      };
      const host = at(named(routes, ORDERS_ROUTES), 'virtual_hosts', 0);
      host.metadata = { filter_metadata: { team: { password: SECRET } } };
      host.typed_per_filter_config = { other: struct };
    });
    expect(text(set)).not.toMatch(/hunter2|10\.9\.9\.9/);
    expect(checkConfiguration({ version: 1, ...set }, EXPECTED)).toEqual([]);
    const what = set.leftOut.map((one) => `${one.where} ${one.what}`).join('\n');
    for (const type of ['lua.v3.Lua', 'google.protobuf.Struct', 'FileAccessLog']) expect(what).toContain(type);
  });
});
