import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil, typed } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const MANAGER = 'filter_chains[0].filters[0].typed_config';
const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3';
const EXTENSIONS = 'envoy.extensions';

function manager(change: (manager: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[0].filter_chains[0].filters[0].typed_config));
}

describe('an HTTP filter that is not listed is refused', () => {
  const types = [
    ...[
      'lua.v3.Lua',
      'wasm.v3.Wasm',
      'dynamic_modules.v3.DynamicModuleFilter',
      'golang.v3alpha.Config',
      'ext_proc.v3.ExternalProcessor',
    ],
    ...[
      'ext_authz.v3.ExtAuthz',
      'tap.v3.Tap',
      'file_server.v3.FileServerConfig',
      'aws_lambda.v3.Config',
      'oauth2.v3.OAuth2',
    ],
    ...[
      'credential_injector.v3.CredentialInjector',
      'dynamic_forward_proxy.v3.FilterConfig',
      'on_demand.v3.OnDemand',
      'rbac.v3.RBAC',
    ],
    ...[
      'composite.v3.Composite',
      'set_filter_state.v3.Config',
      'cache.v3.CacheConfig',
      'original_src.v3.OriginalSrc',
      'jwt_authn.v3.JwtAuthentication',
    ],
    ...[
      'header_mutation.v3.HeaderMutation',
      'basic_auth.v3.BasicAuth',
      'custom_response.v3.CustomResponse',
      'admission_control.v3.AdmissionControl',
    ],
  ];
  it.each(types)('%s', (type) => {
    const refused = manager(({ http_filters }) => {
      http_filters.unshift({ name: 'x', typed_config: typed(`${EXTENSIONS}.filters.http.${type}`) });
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].typed_config | type.googleapis.com/${EXTENSIONS}.filters.http.${type}: the type is not accepted here`,
    ]);
  });

  const structs = [
    'xds.type.v3.TypedStruct',
    'udpa.type.v1.TypedStruct',
    'google.protobuf.Struct',
    'google.protobuf.Any',
    'envoy.config.core.v3.TypedExtensionConfig',
  ];
  it.each(structs)('the router disguised as %s', (type) => {
    const refused = manager(({ http_filters }) => {
      http_filters[1].typed_config =
        type === 'google.protobuf.Struct' || type === 'google.protobuf.Any'
          ? { '@type': `type.googleapis.com/${type}`, value: {} }
          : typed(type);
    });
    expect(refused[0]).toBe(
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config | type.googleapis.com/${type}: the type is not accepted here`,
    );
  });

  it('a filter with configuration from another source', () => {
    const refused = manager(({ http_filters }) => {
      http_filters[0] = {
        name: 'x',
        config_discovery: { config_source: { path_config_source: { path: '/tmp/x' } }, type_urls: ['x'] },
      };
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].config_discovery | ${CONNECTION_MANAGER}.HttpFilter.config_discovery: the field is not accepted`,
    ]);
  });

  it('a filter with a reserved name of the agent', () => {
    const refused = manager(({ http_filters }) => {
      http_filters[0].name = 'meshpass.token';
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].name | ${CONNECTION_MANAGER}.HttpFilter.name: name "meshpass.token" is reserved for the agent`,
    ]);
  });

  it('a missing router, or one before the end', () => {
    const none = manager((it) => it.http_filters.pop());
    const before = manager((it) => it.http_filters.reverse());
    const reason = `${HTTP} | ${MANAGER} | ${CONNECTION_MANAGER}.HttpConnectionManager: the last HTTP filter must be the router`;
    expect([...none, ...before]).toEqual([reason, reason]);
  });

  it('a router with its own log or filters', () => {
    const router = `${EXTENSIONS}.filters.http.router.v3.Router`;
    const refused = manager(({ http_filters }) => {
      Object.assign(http_filters[1].typed_config, {
        upstream_log: [
          { name: 'x', typed_config: typed(`${EXTENSIONS}.access_loggers.file.v3.FileAccessLog`, { path: '/tmp/x' }) },
        ],
        upstream_http_filters: [{ name: 'x' }],
      });
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config.upstream_log | ${router}.upstream_log: the field is not accepted`,
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config.upstream_http_filters | ${router}.upstream_http_filters: the field is not accepted`,
    ]);
  });
});
