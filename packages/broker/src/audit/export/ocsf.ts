/**
 * Rows as events of the Open Cybersecurity Schema Framework, version 1.8.0: Authentication (3002) for the begin and end of sessions and
 * sign-ins, Authorize Session (3003) for the grants they have or lose, Network Activity (4001) for tunnels and refused requests,
 * Application Lifecycle (6002) for the broker's own, API Activity (6003) for everything else. The row goes along in `unmapped`, with its
 * place in the chain, so that an event can be traced to the row and the row be verified.
 */
import type { Action } from '../log/event.ts';
import type { SealedRow } from '../log/leaf.ts';

export const OCSF_VERSION = '1.8.0';

export type OcsfEvent = Readonly<Record<string, unknown>> & {
  readonly class_uid: number;
  readonly category_uid: number;
  readonly activity_id: number;
  readonly type_uid: number;
};

const PRODUCT = { name: 'Meshpass', vendor_name: 'Meshpass', feature: { name: 'broker' } };
const SERVICE = { name: 'meshpass-broker' };

const CLASSES = {
  authentication: { class_uid: 3002, class_name: 'Authentication', category_uid: 3 },
  authorize: { class_uid: 3003, class_name: 'Authorize Session', category_uid: 3 },
  network: { class_uid: 4001, class_name: 'Network Activity', category_uid: 4 },
  lifecycle: { class_uid: 6002, class_name: 'Application Lifecycle', category_uid: 6 },
  api: { class_uid: 6003, class_name: 'API Activity', category_uid: 6 },
} as const;
const CATEGORY_NAMES: Readonly<Record<number, string>> = {
  3: 'Identity & Access Management',
  4: 'Network Activity',
  6: 'Application Activity',
};

type Activity = readonly [id: number, name: string];
const OTHER = 99;

/** Actions that have a class of their own. */
type Classified =
  | 'session.open'
  | 'session.close'
  | 'session.widen'
  | 'session.narrow'
  | 'sign_in.add'
  | 'sign_in.end'
  | 'sign_in.logout'
  | 'operator.sign-in'
  | 'operator.sign-out'
  | 'tunnel'
  | 'request'
  | 'broker.start'
  | 'broker.stop';

/** What each action of the API does to what it is about. */
const API: Readonly<Record<Exclude<Action, Classified>, Activity>> = {
  'certificate.issue': [1, 'Create'],
  'token.issue': [1, 'Create'],
  'kubernetes.token': [1, 'Create'],
  'services.read': [2, 'Read'],
  'configuration.read': [2, 'Read'],
  'operator.list': [2, 'Read'],
  'sign_in.read': [2, 'Read'],
  'edge.stream': [2, 'Read'],
  'session.heartbeat': [3, 'Update'],
  'policy.plan': [2, 'Read'],
  'policy.apply': [3, 'Update'],
  'policy.watch': [2, 'Read'],
  'operator.rotate': [3, 'Update'],
  'key.rotate': [3, 'Update'],
  'operator.close': [4, 'Delete'],
  'operator.drill': [1, 'Create'],
  'operator.ask': [1, 'Create'],
  'operator.confirm-sign-in': [3, 'Update'],
  'operator.confirm': [3, 'Update'],
  'operator.withdraw': [4, 'Delete'],
  'github.events': [3, 'Update'],
  'approval.list': [2, 'Read'],
  'approval.request': [1, 'Create'],
  'approval.answer': [3, 'Update'],
  'approval.withdraw': [4, 'Delete'],
  'approval.revoke': [4, 'Delete'],
  'approval.emergency': [1, 'Create'],
  'approval.review': [3, 'Update'],
  'approval.overdue': [3, 'Update'],
  'approval.expire': [4, 'Delete'],
  'approval.end': [4, 'Delete'],
  'audit.adopt': [3, 'Update'],
  'audit.prune': [4, 'Delete'],
  'audit.restore': [3, 'Update'],
};

/** @returns one event, or two where a session was opened: that it was, and what it may */
export function ocsfEvents(row: SealedRow): OcsfEvent[] {
  switch (row.action) {
    case 'session.open': {
      const opened = [logon(row, [1, 'Logon'])];
      return row.outcome === 'allowed' ? [...opened, privileges(row, [1, 'Assign Privileges'])] : opened;
    }
    case 'session.close':
      return [logon(row, [2, 'Logoff'])];
    case 'session.widen':
      return [privileges(row, [1, 'Assign Privileges'])];
    case 'sign_in.add':
    case 'operator.sign-in':
      return [logon(row, [1, 'Logon'])];
    case 'sign_in.end':
    case 'sign_in.logout':
    case 'operator.sign-out':
      return [logon(row, [2, 'Logoff'])];
    case 'session.narrow':
      return [privileges(row, [OTHER, 'Withdraw Privileges'])];
    // What a sidecar refused is told of as the service and port that it was for, like a tunnel.
    case 'tunnel':
    case 'request':
      return [tunnel(row)];
    case 'broker.start':
      return [event(row, CLASSES.lifecycle, [3, 'Start'], { app: PRODUCT })];
    case 'broker.stop':
      return [event(row, CLASSES.lifecycle, [4, 'Stop'], { app: PRODUCT })];
    default:
      return [apiCall(row)];
  }
}

function logon(row: SealedRow, activity: Activity): OcsfEvent {
  return event(row, CLASSES.authentication, activity, {
    user: user(row),
    session: session(row),
    service: SERVICE,
    src_endpoint: source(row),
    is_remote: true,
    ...(activity[0] === 1 && { auth_protocol_id: 6, auth_protocol: 'OAUTH 2.0' }),
    ...(row.proof_hash !== null && {
      authentication_token: { uid: row.proof_hash, type_id: 3, type: 'Identity Token' },
    }),
  });
}

function privileges(row: SealedRow, activity: Activity): OcsfEvent {
  const id = activity[0] === 1 ? `${row.id}/authorize` : row.id;
  return event(
    row,
    CLASSES.authorize,
    activity,
    { user: user(row), session: session(row), src_endpoint: source(row), privileges: grants(row) },
    id,
  );
}

function tunnel(row: SealedRow): OcsfEvent {
  const activity: Activity =
    row.outcome === 'allowed' ? [1, 'Open'] : row.outcome === 'ended' ? [2, 'Close'] : [5, 'Refuse'];
  const [host = '', port] = splitTarget(row.target);
  const { bytesIn, bytesOut } = detailOf(row);
  return event(row, CLASSES.network, activity, {
    // `actor` is of the profile `host`.
    actor: { user: user(row), session: session(row) },
    src_endpoint: source(row),
    ...(host !== '' && { dst_endpoint: { hostname: host, ...(port !== undefined && { port }) } }),
    connection_info: { protocol_num: 6, protocol_name: 'tcp', direction_id: 1, direction: 'Inbound' },
    ...(typeof bytesIn === 'number' &&
      typeof bytesOut === 'number' && {
        traffic: { bytes_in: bytesIn, bytes_out: bytesOut, bytes: bytesIn + bytesOut },
      }),
  });
}

function apiCall(row: SealedRow): OcsfEvent {
  const whose = row.subject !== null || row.login !== null;
  return event(row, CLASSES.api, (API as Readonly<Record<string, Activity>>)[row.action] ?? [OTHER, row.action], {
    actor: {
      ...(whose ? { user: user(row) } : { app_name: row.source === null ? 'meshpass-broker' : 'unknown caller' }),
      ...(row.session_id !== null && { session: session(row) }),
      ...(row.rule !== null && { authorizations: [{ decision: row.outcome, policy: { name: row.rule } }] }),
    },
    api: {
      operation: row.action,
      service: SERVICE,
      ...(row.request_id !== null && { request: { uid: row.request_id } }),
      ...(row.code !== null && { response: { error: row.code, error_message: row.reason } }),
    },
    src_endpoint: source(row),
    ...(row.target !== null && { resources: [{ name: row.target, ...(row.workspace && { owner: user(row) }) }] }),
  });
}

function event(
  row: SealedRow,
  ofClass: { readonly class_uid: number; readonly class_name: string; readonly category_uid: number },
  [activity, name]: Activity,
  members: Readonly<Record<string, unknown>>,
  id = row.id,
): OcsfEvent {
  const refused = row.outcome === 'refused';
  return {
    ...ofClass,
    category_name: CATEGORY_NAMES[ofClass.category_uid],
    activity_id: activity,
    activity_name: name,
    type_uid: ofClass.class_uid * 100 + activity,
    type_name: `${ofClass.class_name}: ${name}`,
    time: Date.parse(row.time),
    severity_id: refused ? 3 : 1,
    severity: refused ? 'Medium' : 'Informational',
    status_id: refused ? 2 : 1,
    status: refused ? 'Failure' : 'Success',
    ...(row.code !== null && { status_code: row.code }),
    ...(row.reason !== '' && { status_detail: row.reason }),
    message: [row.action, row.outcome, row.login ?? row.subject, row.target].filter((part) => part !== null).join(' '),
    metadata: {
      version: OCSF_VERSION,
      product: PRODUCT,
      uid: id,
      sequence: row.seq,
      log_name: 'audit',
      original_time: row.time,
      ...(ofClass === CLASSES.network && { profiles: ['host'] }),
      ...(row.session_id !== null && { correlation_uid: row.session_id }),
    },
    ...members,
    unmapped: { meshpass: row },
  };
}

function user(row: SealedRow) {
  return {
    type_id: 1,
    type: 'User',
    name: row.login ?? row.subject ?? 'unknown',
    ...(row.subject !== null && { uid: row.subject }),
    ...(row.issuer !== null && { domain: row.issuer }),
  };
}

function session(row: SealedRow) {
  return {
    ...(row.session_id !== null && { uid: row.session_id }),
    ...(row.issuer !== null && { issuer: row.issuer }),
    is_remote: true,
  };
}

function source(row: SealedRow) {
  return {
    ...(row.source === null ? { name: 'meshpass-broker' } : { ip: row.source }),
    ...(row.workspace !== null && { instance_uid: row.workspace }),
  };
}

/** Grants with the places that give them. */
function grants(row: SealedRow): string[] {
  const rules = row.rule?.split(', ') ?? [];
  const names = (row.grant_name ?? '').split(',').filter((name) => name !== '');
  return (names.length === 0 ? ['unknown'] : names).map(
    (name) => rules.find((rule) => rule.startsWith(`${name} `)) ?? name,
  );
}

function splitTarget(target: string | null): [string | undefined, number | undefined] {
  const [, host, port] = /^(.*?)(?::(\d{1,5}))?$/s.exec(target ?? '') ?? [];
  return [host, port === undefined ? undefined : Number(port)];
}

function detailOf(row: SealedRow): Readonly<Record<string, unknown>> {
  try {
    const detail: unknown = JSON.parse(row.detail ?? '{}');
    return typeof detail === 'object' && detail !== null ? { ...detail } : {};
  } catch {
    // What was too long was cut.
    return {};
  }
}
