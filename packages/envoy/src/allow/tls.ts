/**
 * The rules for TLS to a workload. Envoy must verify the SPIFFE id of the workload, and all keys must come from the
 * agent.
 */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { grantFromName, quoteUntrusted, serverName } from './names.ts';
import { type AllowList, type Check, type Context, extension, items, part, rule, scalar } from './rule.ts';
import { isAgentSource } from './sources.ts';

const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const ROOTS = 'roots';
/** The SAN type URI (envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher.SanType). */
const URI = 3;
const PATH = /^\/ns\/[a-z0-9-]{1,63}\/sa\/[a-z0-9.-]{1,253}$/;
/** TLSv1_0 and TLSv1_1 (TlsParameters.TlsProtocol). For clients, 0 means TLS 1.2. */
const OLD_VERSIONS = [1, 2];

const workload: Check<ReflectMessage> = (matcher, { expected }) => {
  const text = part(matcher, 'matcher');
  if (scalar(matcher, 'san_type') !== URI || !text) return 'a workload may only be verified by its URI';
  const exact = text.oneofCase(text.desc.oneofs[0]!)?.name === 'exact';
  if (!exact || scalar(text, 'ignore_case')) return 'a workload may only be verified by its exact SPIFFE id';
  const id = scalar<string>(text, 'exact');
  const prefix = `spiffe://${expected?.trustDomain ?? ''}`;
  if (expected && !(id.startsWith(prefix) && PATH.test(id.slice(prefix.length))))
    return `${quoteUntrusted(id)} is not a workload in the mesh`;
  return undefined;
};

const certificate: Check<ReflectMessage> = (secret, context) => {
  const name = scalar<string>(secret, 'name');
  if (!context.expected) return undefined;
  if (!isFromAgent(secret)) return 'certificates are only accepted from the agent';
  const grant = clusterGrant(context);
  return name === grant ? undefined : `certificate ${quoteUntrusted(name)} does not belong to the cluster's grant`;
};

const roots: Check<ReflectMessage> = (secret, { expected }) => {
  if (!expected) return undefined;
  if (!isFromAgent(secret)) return 'roots are only accepted from the agent';
  return scalar(secret, 'name') === ROOTS ? undefined : `the roots must be named "${ROOTS}"`;
};

function isFromAgent(secret: ReflectMessage): boolean {
  const source = part(secret, 'sds_config');
  return secret.getUnknown() === undefined && source !== undefined && isAgentSource(source);
}

/** Returns the grant at the start of the cluster's name. The cluster presents the identity of this grant. */
export function clusterGrant({ parents, expected }: Context): string | undefined {
  return grantFromName(scalar<string>(parents[0]!, 'name'), expected!);
}

function checkTls(tls: ReflectMessage): string | undefined {
  const common = part(tls, 'common_tls_context');
  const combined = common && part(common, 'combined_validation_context');
  const context = combined && part(combined, 'default_validation_context');
  if (!common || !combined || !part(combined, 'validation_context_sds_secret_config'))
    return 'TLS without roots is not accepted';
  if (items(common, 'tls_certificate_sds_secret_configs').length !== 1)
    return 'TLS requires exactly one certificate, the one for the grant';
  if (!context || items(context, 'match_typed_subject_alt_names').length === 0)
    return 'TLS without the SPIFFE id of the workload is not accepted';
  return scalar(tls, 'sni') === '' ? 'TLS without a server name is not accepted' : undefined;
}

function checkVersions(parameters: ReflectMessage): string | undefined {
  const versions = ['tls_minimum_protocol_version', 'tls_maximum_protocol_version'];
  const old = versions.some((name) => OLD_VERSIONS.includes(scalar<number>(parameters, name)));
  return old ? 'TLS before version 1.2 is not accepted' : undefined;
}

const TLS = 'envoy.extensions.transport_sockets.tls.v3.';

export const TLS_TYPES: AllowList = {
  'envoy.config.core.v3.TransportSocket': extension([UPSTREAM_TLS]),
  [UPSTREAM_TLS]: {
    whole: true,
    free: 'common_tls_context max_session_keys enforce_rsa_key_usage',
    check: checkTls,
    fields: { sni: rule(serverName) },
  },
  [`${TLS}CommonTlsContext`]: {
    whole: true,
    free: 'tls_params alpn_protocols combined_validation_context',
    fields: { tls_certificate_sds_secret_configs: rule(certificate, { leaf: true }) },
  },
  [`${TLS}TlsParameters`]: {
    whole: true,
    check: checkVersions,
    free: 'tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves signature_algorithms',
  },
  [`${TLS}CommonTlsContext.CombinedCertificateValidationContext`]: {
    whole: true,
    free: 'default_validation_context',
    fields: { validation_context_sds_secret_config: rule(roots, { leaf: true }) },
  },
  [`${TLS}CertificateValidationContext`]: {
    whole: true,
    fields: { match_typed_subject_alt_names: rule(workload) },
  },
  [`${TLS}SubjectAltNameMatcher`]: { whole: true, free: 'san_type matcher' },
};
