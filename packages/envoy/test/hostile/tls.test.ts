import { describe, expect, it } from 'vitest';
import { AGENT_SOURCE } from '../relayed.ts';
import { type Spoiled, spoil, typed } from './honest.ts';

const WHERE =
  'Cluster dev/outbound|8080||orders.shop.svc.cluster.local | transport_socket_matches[0].transport_socket.typed_config';
const TLS = 'envoy.extensions.transport_sockets.tls.v3';
const COMMON = `${WHERE}.common_tls_context`;
const CERTIFICATES = `${COMMON}.tls_certificate_sds_secret_configs`;
const COMBINED = `${COMMON}.combined_validation_context`;
const ROOTS = `${COMBINED}.validation_context_sds_secret_config | ${TLS}.CommonTlsContext.CombinedCertificateValidationContext.validation_context_sds_secret_config`;
const SANS = `${COMBINED}.default_validation_context.match_typed_subject_alt_names`;

/** Returns the refusals after a change to the first cluster's UpstreamTlsContext. */
function tls(change: (tls: Spoiled, common: Spoiled) => void): string[] {
  return spoil(({ clusters }) => {
    const context = clusters[0].transport_socket_matches[0].transport_socket.typed_config;
    change(context, context.common_tls_context);
  });
}

function withNames(...names: Spoiled[]): string[] {
  return tls((_, common) => {
    common.combined_validation_context.default_validation_context.match_typed_subject_alt_names = names;
  });
}

function withName(matcher: Spoiled, san_type = 'URI'): string[] {
  return withNames({ san_type, matcher });
}

describe('TLS that another server could terminate is refused', () => {
  const id = 'spiffe://cluster.local/ns/shop/sa/orders';
  const name = `${SANS}[0] | ${TLS}.CertificateValidationContext.match_typed_subject_alt_names`;
  const exact = `${name}: a workload may only be verified by its exact SPIFFE id`;
  const uri = `${name}: a workload may only be verified by its URI`;
  const none = (what: string) => `${name}: ${JSON.stringify(what)} is not a workload in the mesh`;
  const cases: [string, () => string[], string][] = [
    [
      'any certificate of the mesh',
      () => withNames(),
      `${WHERE} | ${TLS}.UpstreamTlsContext: TLS without the SPIFFE id of the workload is not accepted`,
    ],
    ['a prefix', () => withName({ prefix: 'spiffe://cluster.local/' }), exact],
    ['a suffix', () => withName({ suffix: '/sa/orders' }), exact],
    ['a substring', () => withName({ contains: 'orders' }), exact],
    ['a regular expression', () => withName({ safe_regex: { regex: '.*' } }), exact],
    ['a case-insensitive id', () => withName({ exact: id, ignore_case: true }), exact],
    ['a DNS name', () => withName({ exact: 'evil.example' }, 'DNS'), uri],
    ['an address', () => withName({ exact: '192.0.2.1' }, 'IP_ADDRESS'), uri],
    ['no type of name', () => withName({ exact: id }, 'SAN_TYPE_UNSPECIFIED'), uri],
    [
      'another trust domain',
      () => withName({ exact: 'spiffe://evil.example/ns/shop/sa/orders' }),
      none('spiffe://evil.example/ns/shop/sa/orders'),
    ],
    [
      'a trust domain with the same beginning',
      () => withName({ exact: 'spiffe://cluster.local.evil.example/ns/shop/sa/orders' }),
      none('spiffe://cluster.local.evil.example/ns/shop/sa/orders'),
    ],
    [
      'an id that does not name a ServiceAccount',
      () => withName({ exact: 'spiffe://cluster.local/anything' }),
      none('spiffe://cluster.local/anything'),
    ],
    [
      'an id with a path that goes up',
      () => withName({ exact: 'spiffe://cluster.local/ns/shop/sa/../x' }),
      none('spiffe://cluster.local/ns/shop/sa/../x'),
    ],
  ];
  it.each(cases)('%s', (_name, refused, expected) => {
    expect(refused()).toContain(expected);
  });

  it('a good name beside a bad one, because either would be accepted', () => {
    const good = { san_type: 'URI', matcher: { exact: id } };
    expect(withNames(good, { san_type: 'URI', matcher: { prefix: 'spiffe://' } })).toContain(
      exact.replace('alt_names[0]', 'alt_names[1]'),
    );
  });

  const validation: Spoiled = {
    trusted_ca: { inline_string: 'x' },
    trust_chain_verification: 'ACCEPT_UNTRUSTED',
    allow_expired_certificate: true,
    match_subject_alt_names: [{ exact: id }],
    verify_certificate_hash: ['x'],
    verify_certificate_spki: ['x'],
    custom_validator_config: { name: 'x', typed_config: typed(`${TLS}.SPIFFECertValidatorConfig`) },
    ca_certificate_provider_instance: { instance_name: 'x' },
    crl: { filename: '/etc/passwd' },
    watched_directory: { path: '/' },
  };
  it.each(Object.keys(validation))('%s', (field) => {
    const refused = tls((_, { combined_validation_context }) => {
      combined_validation_context.default_validation_context[field] = validation[field];
    });
    expect(refused).toEqual([
      `${COMBINED}.default_validation_context.${field} | ${TLS}.CertificateValidationContext.${field}: the field is not accepted`,
    ]);
  });
});

describe('keys and roots from other sources than the agent are refused', () => {
  const sources: [string, Spoiled][] = [
    ['a file', { path_config_source: { path: '/home/dev/.ssh/id_ed25519' } }],
    ['a path', { path: '/etc/ssl/private/key.pem' }],
    ['ADS', { ads: {}, resource_api_version: 'V3' }],
    ['REST', { ...AGENT_SOURCE, api_config_source: { ...AGENT_SOURCE.api_config_source, api_type: 'REST' } }],
    [
      'another cluster',
      {
        ...AGENT_SOURCE,
        api_config_source: {
          ...AGENT_SOURCE.api_config_source,
          grpc_services: [{ envoy_grpc: { cluster_name: 'dev/x' } }],
        },
      },
    ],
    [
      'a host',
      {
        ...AGENT_SOURCE,
        api_config_source: {
          ...AGENT_SOURCE.api_config_source,
          grpc_services: [{ google_grpc: { target_uri: 'evil.example', stat_prefix: 'x' } }],
        },
      },
    ],
    [
      'the agent with additional headers',
      {
        ...AGENT_SOURCE,
        api_config_source: {
          ...AGENT_SOURCE.api_config_source,
          grpc_services: [{ envoy_grpc: { cluster_name: 'agent' }, initial_metadata: [{ key: 'x', value: 'y' }] }],
        },
      },
    ],
  ];
  it.each(sources)('from %s', (_name, sds_config) => {
    const key = tls((_, common) => {
      common.tls_certificate_sds_secret_configs[0].sds_config = sds_config;
    });
    const roots = tls((_, common) => {
      common.combined_validation_context.validation_context_sds_secret_config.sds_config = sds_config;
    });
    expect([...key, ...roots]).toEqual([
      `${CERTIFICATES}[0] | ${TLS}.CommonTlsContext.tls_certificate_sds_secret_configs: certificates are only accepted from the agent`,
      `${ROOTS}: roots are only accepted from the agent`,
    ]);
  });

  it('the certificate of another grant, or the identity token as a certificate', () => {
    for (const name of ['ops', 'identity-token', 'roots', '']) {
      const refused = tls((_, common) => {
        common.tls_certificate_sds_secret_configs[0].name = name;
      });
      expect(refused).toEqual([
        `${CERTIFICATES}[0] | ${TLS}.CommonTlsContext.tls_certificate_sds_secret_configs: certificate "${name}" does not belong to the cluster's grant`,
      ]);
    }
  });

  it('other roots', () => {
    const refused = tls((_, common) => {
      common.combined_validation_context.validation_context_sds_secret_config.name = 'public-roots';
    });
    expect(refused).toEqual([`${ROOTS}: the roots must be named "roots"`]);
  });

  const common: Spoiled = {
    tls_certificates: [{ certificate_chain: { filename: '/etc/passwd' }, private_key: { inline_string: 'x' } }],
    tls_certificate_provider_instance: { instance_name: 'x' },
    validation_context: { trusted_ca: { filename: '/etc/ssl/certs/ca-certificates.crt' } },
    validation_context_sds_secret_config: { name: 'roots', sds_config: AGENT_SOURCE },
    key_log: { path: '/tmp/keys' },
    custom_handshaker: { name: 'x', typed_config: typed('x.y.Z') },
    custom_tls_certificate_selector: { name: 'x', typed_config: typed('x.y.Z') },
  };
  it.each(Object.keys(common))('%s', (field) => {
    const refused = tls((_, context) => {
      if (field.startsWith('validation_context')) delete context.combined_validation_context;
      context[field] = common[field];
    });
    expect(refused).toContain(`${COMMON}.${field} | ${TLS}.CommonTlsContext.${field}: the field is not accepted`);
  });

  it('no certificate', () => {
    const refused = tls((_, context) => {
      delete context.tls_certificate_sds_secret_configs;
    });
    expect(refused).toEqual([
      `${WHERE} | ${TLS}.UpstreamTlsContext: TLS requires exactly one certificate, the one for the grant`,
    ]);
  });
});

describe('TLS with another name or an old version is refused', () => {
  const names = [
    ...['example.com', 'outbound_.8080_._.example.com', 'outbound_.8080_._.orders.shop.svc.cluster.local.evil.example'],
    ...['outbound_.0_._.orders.shop.svc.cluster.local', 'inbound_.8080_._.orders.shop.svc.cluster.local'],
    ...['outbound_.8080_._.*.shop.svc.cluster.local', 'outbound_.8080_._.orders.shop', 'orders.shop.svc.cluster.local'],
  ];
  it.each(names)('%s', (sni) => {
    const refused = tls((context) => {
      context.sni = sni;
    });
    expect(refused).toEqual([
      `${WHERE}.sni | ${TLS}.UpstreamTlsContext.sni: server name "${sni}" is not a service in the mesh`,
    ]);
  });

  it('an empty name', () => {
    const refused = tls((context) => {
      delete context.sni;
    });
    expect(refused).toEqual([`${WHERE} | ${TLS}.UpstreamTlsContext: TLS without a server name is not accepted`]);
  });

  it.each(['allow_renegotiation', 'auto_host_sni', 'auto_sni_san_validation'])('%s', (field) => {
    const refused = tls((context) => {
      context[field] = true;
    });
    expect(refused).toEqual([`${WHERE}.${field} | ${TLS}.UpstreamTlsContext.${field}: the field is not accepted`]);
  });

  it('TLS 1.0', () => {
    const refused = tls((_, context) => {
      context.tls_params = { tls_minimum_protocol_version: 'TLSv1_0' };
    });
    expect(refused).toEqual([`${COMMON}.tls_params | ${TLS}.TlsParameters: TLS before version 1.2 is not accepted`]);
  });
});
