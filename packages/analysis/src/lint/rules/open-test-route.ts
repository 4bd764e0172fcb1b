import { describeCallers, describeCalls, describeDestination, describeGateway } from '../describe.ts';
import { openGateways } from '../exposure/requires-identity.ts';
import { whyTestRoute } from '../exposure/test-route.ts';
import type { Rule } from '../rule.ts';

/** A test route that the world can call: the finding that this linter exists for. */
export const openTestRoute: Rule = {
  code: 'MP101',
  name: 'open-test-route',
  severity: 'error',
  title: 'A test route is reachable through a gateway without an identity',
  fix: 'Remove `gateways` so that the route applies inside the mesh only, and reach it with an identity (a grant in the access file); or require one at the gateway: a DENY with `notRequestPrincipals: ["*"]` on its host and path.',
  *check(context) {
    for (const exposure of context.exposures) {
      const why = whyTestRoute(context, exposure);
      const open = why === undefined ? [] : openGateways(context.mesh, exposure);
      if (open.length === 0) continue;
      yield {
        on: exposure.on,
        path: exposure.destinationPath,
        message: `${describeCalls(exposure)} reaches ${describeDestination(exposure)} through ${open.map(describeGateway).join(' and ')}: open to ${describeCallers(exposure)}. It is a test route: ${why}.`,
      };
    }
  },
};
