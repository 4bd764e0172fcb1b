import { type AuthorizationPolicy, selectorOf, selects } from '@meshpass/istio';
import type { Rule } from '../rule.ts';

/** A policy that no workload is under. */
export const selectsNothing: Rule = {
  code: 'MP309',
  name: 'selects-nothing',
  severity: 'warning',
  title: 'A policy selects no workload and has no effect',
  fix: 'Compare the labels with those of the Pods (not of the Deployment), and check the namespace.',
  *check(context) {
    for (const kind of ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'] as const) {
      for (const policy of context.mesh.all(kind) as readonly AuthorizationPolicy[]) {
        const wanted = selectorOf(policy) ?? {};
        const names = Object.keys(wanted);
        if (names.length === 0) continue;
        const { namespace } = policy.metadata;
        const everywhere = namespace === context.mesh.config.rootNamespace;
        const pods = everywhere ? context.mesh.pods : context.mesh.podsIn(namespace);
        // Files show a part of the mesh: where they show no workload of the namespace, nothing is known.
        if ((pods.length === 0 && !context.complete) || (everywhere && !context.complete)) continue;
        if (pods.some((pod) => selects(wanted, pod.labels))) continue;
        const elsewhere = context.mesh.pods.find((pod) => selects(wanted, pod.labels));
        const missing = names.find((name) => !pods.some((pod) => pod.labels[name] === wanted[name])) ?? names[0]!;
        yield {
          on: policy,
          path: ['spec', 'selector', 'matchLabels', missing],
          message: `no workload of namespace ${namespace} has ${names.map((name) => `${name}: ${wanted[name]}`).join(', ')}${elsewhere ? `; ${elsewhere.object.kind} ${elsewhere.namespace}/${elsewhere.name} has, in another namespace` : ''}.`,
        };
      }
    }
  },
};
