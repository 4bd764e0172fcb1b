import { type PeerAuthentication, selectorOf, selects, serviceName } from '@meshpass/istio';
import { labels, record } from '@meshpass/istio/members';
import { modeOf } from '../mutual-tls.ts';
import type { Rule } from '../rule.ts';

/** Plain text beside mutual TLS: no certificate, no principal, no rule about it. */
export const permissiveMtls: Rule = {
  code: 'MP402',
  name: 'permissive-mtls',
  severity: 'error',
  title: 'A granted service or a part of the mesh accepts connections without mutual TLS',
  fix: 'Set `mtls: {mode: STRICT}`, and list the ports that must stay plain text (probes) under `portLevelMtls`.',
  *check(context) {
    const said = new Set<PeerAuthentication>();
    for (const [host, { grants }] of context.granted) {
      const name = serviceName(host, context.mesh.config.clusterDomain);
      const service = context.mesh.serviceAt(host);
      if (!name) continue;
      const pods = service ? context.mesh.podsBehind(service) : [];
      const given = pods[0]?.labels ?? labels(service?.spec.selector);
      const { mode, by, open: portOpen } = modeOf(context.mesh, name.namespace, given);
      if ((mode === 'STRICT' && !portOpen) || (!by && !portOpen && !context.complete)) continue;
      const decided = mode === 'STRICT' ? portOpen?.by : by;
      const on = decided ?? service;
      if (!on || (decided && said.has(decided))) continue;
      if (decided) said.add(decided);
      const open = mode === 'STRICT' && portOpen ? String(portOpen.port) : undefined;
      yield {
        on,
        path: open
          ? ['spec', 'portLevelMtls', open, 'mode']
          : decided
            ? ['spec', 'mtls', 'mode']
            : ['metadata', 'name'],
        message: `${host}, granted by ${grants.join(', ')}, accepts calls without a certificate${open ? ` on port ${open}` : ''}${decided ? '' : " (no PeerAuthentication sets STRICT, and Istio's default is PERMISSIVE)"}: a caller that reaches the pod directly has no principal or namespace that a policy can match.`,
      };
    }
    for (const policy of context.mesh.all('PeerAuthentication')) {
      if (said.has(policy)) continue;
      const selector = selectorOf(policy) ?? {};
      const whole = Object.keys(selector).length === 0;
      // With a selector in the root namespace it is for nobody, and ports count with a selector only.
      if (!whole && policy.metadata.namespace === context.mesh.config.rootNamespace) continue;
      const mode = policy.spec.mtls?.mode;
      const open = whole ? undefined : openPort(policy);
      const used = () =>
        context.mesh
          .within('AuthorizationPolicy', policy.metadata.namespace)
          .some((one) => selects(selectorOf(one), selector));
      if (mode === 'DISABLE' || (mode === 'PERMISSIVE' && (whole || used()))) {
        yield {
          on: policy,
          path: ['spec', 'mtls', 'mode'],
          severity: mode === 'DISABLE' ? 'error' : 'warning',
          message: `${mode} lets ${whole ? (policy.metadata.namespace === context.mesh.config.rootNamespace ? 'the whole mesh' : `namespace ${policy.metadata.namespace}`) : 'these workloads'} accept calls without a certificate: such callers have no principal and no namespace.`,
        };
      } else if (open) {
        yield {
          on: policy,
          path: ['spec', 'portLevelMtls', open, 'mode'],
          severity: 'warning',
          message: `port ${open} accepts calls without a certificate: rules on principals and namespaces match no such caller.`,
        };
      }
    }
  },
};

function openPort(policy: PeerAuthentication | undefined): string | undefined {
  return Object.entries(record<{ mode?: string }>(policy?.spec.portLevelMtls)).find(
    ([, { mode }]) => mode === 'PERMISSIVE' || mode === 'DISABLE',
  )?.[0];
}
