/** More access files that must be refused: to what. The same form as bad-files.ts. */
import type { BAD_FILES } from './bad-files.ts';
import { fileWith } from './shop.ts';

export const BAD_TARGETS: typeof BAD_FILES = [
  [
    'services by pattern',
    fileWith({ to: '[{service: "*.shop", port: 80}]' }),
    'access_file_pattern_unanchored',
    /one by one, by name/,
  ],
  [
    'a service by its full name',
    fileWith({ to: '[{service: orders.shop.svc.cluster.local, port: 80}]' }),
    'access_file_invalid',
    /write the service as orders\.shop$/,
  ],
  [
    'a port out of range',
    fileWith({ to: '[{service: a.b, port: 65536}]' }),
    'access_file_invalid',
    /port: ports are 1 to 65535$/,
  ],
  [
    'a port as text',
    fileWith({ to: '[{service: a.b, port: "80"}]' }),
    'access_file_invalid',
    /port: expected a number, found text: write 80 without quotes$/,
  ],
  [
    'a path that does not begin with a slash',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET *"]}]' }),
    'access_file_pattern_unanchored',
    /does not begin with "\/"/,
  ],
  [
    'a path with a star inside',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /a/*/b]}]' }),
    'access_file_pattern_unanchored',
    /only be the last character/,
  ],
  [
    'a template that is only a part of a segment',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /a/{*}.json"]}]' }),
    'access_file_invalid',
    /only the whole segments \{\*\} \(one\) and \{\*\*\} \(any number\) are templates/,
  ],
  [
    'a path with braces',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /a/{id}"]}]' }),
    'access_file_invalid',
    /only the whole segments/,
  ],
  [
    'a path with an escape',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /a%2fb]}]' }),
    'access_file_invalid',
    /no normalised path has/,
  ],
  [
    'a path with dots',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /a/../b]}]' }),
    'access_file_invalid',
    /not normalised/,
  ],
  [
    'a path with a query',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /a?b=c"]}]' }),
    'access_file_invalid',
    /query/,
  ],
  [
    'an operation without a method',
    fileWith({ to: '[{service: a.b, port: 80, allow: [/a]}]' }),
    'access_file_invalid',
    /write METHOD \/path/,
  ],
  [
    'a method in small letters',
    fileWith({ to: '[{service: a.b, port: 80, allow: [get /a]}]' }),
    'access_file_invalid',
    /is no method/,
  ],
  [
    'a role of Kubernetes itself',
    fileWith({ more: 'kubernetes: {roles: [cluster-admin@shop]}' }),
    'access_file_invalid',
    /is Kubernetes' own/,
  ],
  [
    'a role in kube-system',
    fileWith({ more: 'kubernetes: {roles: [view@kube-system]}' }),
    'access_file_invalid',
    /holds the keys of the cluster/,
  ],
  [
    'a role without a namespace',
    fileWith({ more: 'kubernetes: {roles: [view]}' }),
    'access_file_invalid',
    /write CLUSTERROLE@NAMESPACE/,
  ],
];
