/** Mesh and identity tokens of the broker in tests. */

export const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
export const TOKENS = {
  issuer: 'https://broker.example.com',
  audience: 'meshpass',
  header: 'x-meshpass-token',
  jwks: JWKS,
};
