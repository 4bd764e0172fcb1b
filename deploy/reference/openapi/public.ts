/** Operations of the public listener: agents, edges, CI and GitHub. docs/interfaces/protocol.md is their prose. */
import {
  EdgeConfigurationRequest,
  EdgeDecisions,
  EdgeDraining,
  EdgeEvent,
  LeaseRequest,
  LeaseResponse,
} from '@meshpass/identity/channel';
import { KubernetesTokenRequest, KubernetesTokenResponse } from '@meshpass/identity/kubernetes';
import { RefusalReportRequest } from '@meshpass/identity/refusal-report';
import { SignInOffer, SignInRequest, SignInsResponse, SignOutRequest } from '@meshpass/identity/sign-in';
import {
  CertificateRequest,
  CertificateResponse,
  ConfigurationResponse,
  ServicesResponse,
  SessionResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import { z } from 'zod';
import { Version } from './answers.ts';
import type { Operation } from './operation.ts';

/** RFC 8693 section 2.1 with parameters of ours; read by packages/broker/src/core/token/form.ts. */
const TokenForm = z
  .object({
    grant_type: z.literal('urn:ietf:params:oauth:grant-type:token-exchange'),
    subject_token: z.string().max(16_384),
    subject_token_type: z.enum([
      'urn:meshpass:token-type:session',
      'urn:meshpass:token-type:codespace',
      'urn:ietf:params:oauth:token-type:id_token',
    ]),
    requested_token_type: z.string().optional(),
    audience: z.string().optional(),
    codespace_name: z.string().optional(),
    presence_nonce: z.string().optional(),
    presence_port: z.string().optional(),
    sign_in_issuer: z.string().optional(),
    sign_in_token: z.string().optional().meta({ description: 'ID token of a sign-in beside the proof' }),
    csrs: z.string().optional().meta({ description: 'DER in base64url, separated by dots; at most 8' }),
  })
  .meta({ id: 'TokenForm' });

const on = { listener: 'public' } as const;
const session = { ...on, callers: ['session'] } as const;
const edge = { ...on, callers: ['edge'] } as const;

const hec = (path: string, id: string): Operation => ({
  ...on,
  method: 'post',
  path,
  callers: ['github'],
  id,
  summary: "Take events of GitHub's audit log, as a Splunk HTTP Event Collector does",
  request: { type: 'application/json' },
  answers: { 200: { description: 'Taken', schema: z.object({ text: z.string(), code: z.number() }) } },
});

export const PUBLIC: readonly Operation[] = [
  {
    ...on,
    method: 'post',
    path: '/token',
    callers: ['proof', 'session'],
    id: 'exchangeToken',
    summary: 'Open a session with a proof, or have a token for an audience (RFC 8693)',
    request: { type: 'application/x-www-form-urlencoded', schema: TokenForm },
    answers: {
      200: {
        description: 'A session, for a proof; a token, for a session token',
        schema: z.union([SessionResponse.meta({ id: 'SessionResponse' }), TokenResponse.meta({ id: 'TokenResponse' })]),
      },
    },
  },
  {
    ...session,
    method: 'post',
    path: '/certificates',
    id: 'issueCertificates',
    summary: 'Have CSRs signed by the CA of the mesh',
    request: { schema: CertificateRequest },
    answers: { 200: { description: 'Certificates, in the order of the CSRs', schema: CertificateResponse } },
  },
  {
    ...session,
    method: 'post',
    path: '/kubernetes/token',
    id: 'issueKubernetesToken',
    summary: 'Have a token for the API server of Kubernetes, under a grant that has roles there',
    request: { schema: KubernetesTokenRequest.meta({ id: 'KubernetesTokenRequest' }) },
    answers: {
      200: {
        description: 'A token of minutes',
        schema: KubernetesTokenResponse.meta({ id: 'KubernetesTokenResponse' }),
      },
    },
  },
  {
    ...session,
    method: 'post',
    path: '/session/refusals',
    id: 'reportRefusals',
    summary: 'Report what the mesh refused to the workspace',
    request: { schema: RefusalReportRequest },
    answers: { 204: { description: 'Counted' } },
  },
  {
    ...session,
    method: 'get',
    path: '/services',
    id: 'listServices',
    summary: 'List what the session may reach',
    answers: { 200: { description: 'Services and mesh', schema: ServicesResponse } },
  },
  {
    ...session,
    method: 'get',
    path: '/session/configuration',
    id: 'readConfiguration',
    summary: "Have the configuration of the workspace's Envoy",
    headers: z.object({
      prefer: z.string().optional().meta({ description: '`wait=SECONDS` (RFC 7240)' }),
    }),
    answers: {
      200: {
        description: 'The newest configuration; `meshpass-configuration` is its signed header',
        schema: ConfigurationResponse.meta({ id: 'Configuration' }),
      },
    },
  },
  {
    ...session,
    method: 'get',
    path: '/session/sign-in',
    id: 'readSignIns',
    summary: 'List the sign-ins of the session, and the grants that lack one',
    answers: { 200: { description: 'Sign-ins', schema: SignInsResponse.meta({ id: 'SignIns' }) } },
  },
  {
    ...session,
    method: 'post',
    path: '/session/sign-in',
    id: 'addSignIn',
    summary: 'Add a sign-in at an identity provider, or confirm it',
    request: { schema: SignInRequest },
    answers: { 200: { description: 'The sign-ins from now on', schema: SignInsResponse } },
  },
  {
    ...session,
    method: 'post',
    path: '/session/sign-out',
    id: 'endSignIn',
    summary: 'End a sign-in',
    request: { schema: SignOutRequest },
    answers: { 200: { description: 'The sign-ins from now on', schema: SignInsResponse } },
  },
  {
    ...on,
    method: 'get',
    path: '/sign-in/{name}',
    callers: ['anyone'],
    id: 'readSignInOffer',
    summary: 'Say with which public client people sign in at an issuer',
    params: z.object({ name: z.string() }),
    answers: { 200: { description: 'The client', schema: SignInOffer } },
  },
  {
    ...on,
    method: 'post',
    path: '/sign-in/backchannel-logout/{name}',
    callers: ['anyone'],
    id: 'logOut',
    summary: 'Accept a logout token of an identity provider',
    params: z.object({ name: z.string() }),
    request: { type: 'application/x-www-form-urlencoded', schema: z.object({ logout_token: z.string().max(16_384) }) },
    answers: { 204: { description: 'Their sign-ins are over' } },
  },
  {
    ...session,
    method: 'delete',
    path: '/session',
    id: 'closeSession',
    summary: 'End the session',
    answers: { 204: { description: 'It has ended' } },
  },
  {
    ...edge,
    method: 'get',
    path: '/edge/stream',
    id: 'followSessions',
    summary: 'Follow live sessions and roots, as an endless stream of JSON lines',
    headers: z.object({ 'meshpass-control': z.string().optional() }),
    answers: { 200: { description: 'One event a line', type: 'application/x-ndjson', schema: EdgeEvent } },
  },
  {
    ...edge,
    method: 'post',
    path: '/edge/decisions',
    id: 'reportDecisions',
    summary: 'Report decisions about tunnels to the audit log',
    request: { schema: EdgeDecisions },
    answers: { 204: { description: 'Written' } },
  },
  {
    ...on,
    method: 'post',
    path: '/leases',
    callers: ['anyone', 'edge'],
    id: 'renewLeases',
    summary: 'Renew leases by the proofs of their sessions: one of an agent, or many that an edge brings',
    request: { schema: LeaseRequest },
    answers: { 200: { description: 'One answer for each', schema: LeaseResponse } },
  },
  {
    ...edge,
    method: 'post',
    path: '/edge/configuration',
    id: 'readAnnouncedConfiguration',
    summary: 'Have the bytes of an announced configuration',
    request: { schema: EdgeConfigurationRequest },
    answers: { 200: { description: 'Bytes', type: 'application/octet-stream', schema: z.string() } },
  },
  {
    ...edge,
    method: 'post',
    path: '/edge/draining',
    id: 'announceDraining',
    summary: 'Say of which sessions tunnels are about to end with their edge',
    request: { schema: EdgeDraining },
    answers: { 204: { description: 'Passed on to the edges that ask for it' } },
  },
  hec('/github/audit-stream', 'takeAuditEvents'),
  hec('/services/collector', 'takeSplunkEvents'),
  hec('/services/collector/event', 'takeSplunkEvent'),
  {
    ...on,
    method: 'get',
    path: '/services/collector/health',
    callers: ['anyone'],
    id: 'collectorHealth',
    summary: "Answer the check of GitHub's audit log stream",
    answers: { 200: { description: 'Healthy', schema: z.object({ text: z.string(), code: z.number() }) } },
  },
  {
    ...on,
    method: 'get',
    path: '/version',
    callers: ['anyone'],
    id: 'readVersion',
    summary: 'Which version the broker has',
    answers: { 200: { description: 'Its version', schema: Version } },
  },
  {
    ...on,
    method: 'get',
    path: '/openapi.json',
    callers: ['anyone'],
    id: 'readOpenapi',
    summary: 'This document',
    answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
  },
  {
    ...on,
    method: 'get',
    path: '/.well-known/openid-configuration',
    callers: ['anyone'],
    id: 'discover',
    summary: 'OpenID Connect Discovery 1.0',
    answers: {
      200: { description: 'What clouds read', schema: z.looseObject({ issuer: z.string(), jwks_uri: z.string() }) },
    },
  },
  {
    ...on,
    method: 'get',
    path: '/jwks',
    callers: ['anyone'],
    id: 'readKeys',
    summary: 'Keys that tokens of this broker verify by (RFC 7517)',
    answers: {
      200: {
        description: 'Keys',
        type: 'application/jwk-set+json',
        schema: z.object({ keys: z.array(z.looseObject({ kid: z.string(), kty: z.string() })) }),
      },
    },
  },
];
