/** A mesh of many teams, as manifests, like a large repository. It is the same every time. */

const PER_TEAM = 10;

/**
 * @param resources how many objects, rounded up to whole teams of ten
 * @returns one text of many documents, with a mistake in every fiftieth team
 */
export function meshOfMany(resources: number): { readonly text: string; readonly objects: number } {
  const teams = Math.ceil(resources / PER_TEAM);
  const documents: string[] = [];
  for (let team = 0; team < teams; team++) documents.push(...teamOf(`team-${team}`, team % 50 === 0));
  return { text: documents.map((one) => `---\n${one}`).join(''), objects: documents.length };
}

function teamOf(ns: string, careless: boolean): readonly string[] {
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
