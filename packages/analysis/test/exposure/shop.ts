/** Meshes for tests of reports: one open, one closed, one unknown and one internal way; and one with hostile names. */
import { loadManifests } from '@meshpass/istio';
import { type ExposureEntry, type ExposureReport, listExposures, reportOf } from '../../src/exposure.ts';

const GATEWAY = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      tls: {mode: SIMPLE, credentialName: shop}
      hosts: ["*"]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
`;

export const SHOP = `${GATEWAY}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [istio-ingress/public]
  http:
    - match: [{method: {exact: GET}, uri: {prefix: /orders/}, headers: {x-env: {exact: test}}}]
      route:
        - destination: {host: orders, port: {number: 8080}}
    - match: [{uri: {prefix: /admin/}}]
      route:
        - destination: {host: admin, port: {number: 8080}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: admin, namespace: istio-ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {paths: [/admin/*]}}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other, namespace: edge}
spec:
  gatewayClassName: other
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: other, namespace: edge}]
  hostnames: [web.example.com]
  rules: [{backendRefs: [{name: web, port: 8080}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata:
  name: ledger
  namespace: shop
  annotations: {networking.gke.io/load-balancer-type: Internal}
spec: {type: LoadBalancer, selector: {app: ledger}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ledger, namespace: shop, labels: {app: ledger}, annotations: {sidecar.istio.io/inject: "false"}}
spec: {containers: [{name: ledger, image: ledger}]}
`;

/** Text that ends attributes, elements, code, table cells, graph labels and terminal lines, if it is not escaped. */
export const HOSTILE = `'"><script>alert(1)</script>\`\`\`|"]; click n0 <img src=x onerror=alert(1)> [a](javascript:alert(1)) \u001b[31m\u202e`;

export const HOSTILE_MESH = `${GATEWAY}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${JSON.stringify(HOSTILE)}, namespace: shop}
spec:
  hosts: [${JSON.stringify(HOSTILE)}]
  gateways: [istio-ingress/public]
  http:
    - match: [{uri: {prefix: ${JSON.stringify(`/${HOSTILE}\n\`\`\`\n# heading`)}}}]
      route:
        - destination: {host: ${JSON.stringify(HOSTILE)}}
`;

export function waysOf(text: string, file = 'mesh/shop.yaml'): readonly ExposureEntry[] {
  return listExposures(loadManifests(text, file).resources);
}

export function reportFor(
  text: string,
  options: Partial<Pick<ExposureReport, 'isAll' | 'unused' | 'notes'>> = {},
): ExposureReport {
  return reportOf(waysOf(text), { objects: 1, ...options });
}
