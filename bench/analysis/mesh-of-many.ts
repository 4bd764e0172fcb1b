/**
 * A mesh of many teams, as manifests, like a large repository. It is the same every time. Teams publish their service by
 * Istio's Gateway, by the Gateway API or by an Ingress, in turns.
 */

const PER_TEAM = 10;

/**
 * @param resources how many objects, rounded up to whole teams of ten
 * @returns one text of many documents, with a mistake in every fiftieth team
 */
export function meshOfMany(resources: number): { readonly text: string; readonly objects: number } {
  const teams = Math.ceil(resources / PER_TEAM);
  const documents: string[] = [];
  for (let team = 0; team < teams; team++) documents.push(...teamOf(`team-${team}`, team));
  return { text: documents.map((one) => `---\n${one}`).join(''), objects: documents.length };
}

function teamOf(ns: string, number: number): readonly string[] {
  const careless = number % 50 === 0;
  const workload = (name: string) => [
    `apiVersion: v1
kind: Service
metadata:
  name: ${name}
  namespace: ${ns}
  labels:
    app: ${name}
spec:
  selector:
    app: ${name}
  ports:
    - name: http
      port: 80
      targetPort: 8080
    - name: tcp-admin
      port: 9000
`,
    `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${name}
  namespace: ${ns}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: ${name}
  template:
    metadata:
      labels:
        app: ${name}
        version: v1
    spec:
      serviceAccountName: ${name}
      containers:
        - name: ${name}
          image: registry.example.com/${ns}/${name}:1.4.2
          ports:
            - name: http
              containerPort: 8080
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
`,
  ];
  return [
    `apiVersion: v1
kind: Namespace
metadata:
  name: ${ns}
  labels:
    istio-injection: enabled
`,
    ...workload('web'),
    ...workload('orders'),
    ...published(ns, number % 3, careless),
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: orders
  namespace: ${ns}
spec:
  selector:
    matchLabels:
      app: orders
  action: DENY
  rules:
    - from:
        - source:
            notNamespaces:
              - ${ns}
              - istio-system
      to:
        - operation:
            ports:
              - "8080"
`,
    ...(number % 2 === 0 ? settingsOf(ns) : externalOf(ns)),
  ];
}

/** Two objects that every namespace should have. */
function settingsOf(ns: string): readonly string[] {
  return [
    `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: ${ns}
spec:
  mtls:
    mode: STRICT
`,
    `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: orders
  namespace: ${ns}
spec:
  host: orders
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 100
`,
  ];
}

/** Two objects for calls to another company. */
function externalOf(ns: string): readonly string[] {
  return [
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: payments
  namespace: ${ns}
spec:
  hosts:
    - payments-${ns}.example.org
  exportTo:
    - "."
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
    - number: 443
      name: tls
      protocol: TLS
`,
    `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata:
  name: default
  namespace: ${ns}
spec:
  egress:
    - hosts:
        - ./*
        - istio-system/*
`,
  ];
}

/** A Gateway or ListenerSet with its route, or two Ingresses. */
function published(ns: string, by: number, careless: boolean): readonly string[] {
  if (by === 1) return publishedByGatewayApi(ns, careless);
  if (by === 2) return [ingressOf(ns, 'web', '/'), ingressOf(ns, 'orders', careless ? '/testing' : '/orders')];
  return [
    `apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: public
  namespace: ${ns}
spec:
  selector:
    istio: ingressgateway
  servers:
    - port:
        number: 443
        name: https
        protocol: HTTPS
      tls:
        mode: SIMPLE
        credentialName: ${ns}-cert
      hosts:
        - ${ns}/${ns}.example.com
`,
    `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web
  namespace: ${ns}
spec:
  hosts:
    - ${ns}.example.com
  gateways:
    - public
  http:
    - match:
        - uri:
            prefix: /orders/
      route:
        - destination:
            host: orders
            port:
              number: 80
${careless ? '    - match:\n        - uri:\n            prefix: /testing/\n      route:\n        - destination:\n            host: orders\n            port:\n              number: 9000\n' : ''}    - route:
        - destination:
            host: web
            port:
              number: 80
`,
  ];
}

function publishedByGatewayApi(ns: string, careless: boolean): readonly string[] {
  return [
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: public
  namespace: ${ns}
spec:
  gatewayClassName: istio
  listeners:
    - name: https
      port: 443
      protocol: HTTPS
      hostname: ${ns}.example.com
      tls:
        certificateRefs:
          - name: ${ns}-cert
`,
    `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
  namespace: ${ns}
spec:
  parentRefs:
    - name: public
  hostnames:
    - ${ns}.example.com
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: ${careless ? '/testing' : '/orders'}
      backendRefs:
        - name: orders
          port: 80
    - backendRefs:
        - name: web
          port: 80
`,
  ];
}

function ingressOf(ns: string, service: string, path: string): string {
  return `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: ${service}
  namespace: ${ns}
spec:
  ingressClassName: istio
  tls:
    - hosts:
        - ${ns}.example.com
      secretName: ${ns}-cert
  rules:
    - host: ${ns}.example.com
      http:
        paths:
          - path: ${path}
            pathType: Prefix
            backend:
              service:
                name: ${service}
                port:
                  number: 80
`;
}
