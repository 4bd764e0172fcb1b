/** More access files that must be refused: to what. The same form as bad-files.ts. */
import type { BAD_FILES } from './bad-files.ts';
import { fileWith } from './shop.ts';

export const BAD_TARGETS: typeof BAD_FILES = [
  [
    'services by pattern',
    fileWith({ to: '[{service: "*.shop", port: 80}]' }),
    'access_file_pattern_unanchored',
    /granted by its exact name/,
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
    /port: a port must be between 1 and 65535$/,
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
    /does not start with "\/"/,
  ],
  [
    'a path with a star inside',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /a/*/b]}]' }),
    'access_file_pattern_unanchored',
    /only allowed as the last character/,
  ],
  [
    'a template that is only a part of a segment',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /a/{*}.json"]}]' }),
    'access_file_invalid',
    /a template must be a whole segment: \{\*\} for one, \{\*\*\} for any number/,
  ],
  [
    'a path with braces',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /a/{id}"]}]' }),
    'access_file_invalid',
    /must be a whole segment/,
  ],
  [
    'a path with an escape',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /a%2fb]}]' }),
    'access_file_invalid',
    /a normalised path never contains/,
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
    /use METHOD \/path/,
  ],
  [
    'a method in small letters',
    fileWith({ to: '[{service: a.b, port: 80, allow: [get /a]}]' }),
    'access_file_invalid',
    /"get" is not an HTTP method/,
  ],
  [
    'a method with a letter too few',
    fileWith({ to: '[{service: a.b, port: 80, allow: [DELTE /x]}]' }),
    'access_file_invalid',
    /^access\.yaml:\d+:\d+ .*"DELTE" is not an HTTP method \(did you mean "DELETE"\?\)/,
  ],
  [
    'a denied method that does not exist',
    fileWith({ to: '[{service: a.b, port: 80, deny: [GTE /*]}]' }),
    'access_file_invalid',
    /"GTE" is not an HTTP method \(did you mean "GET"\?\)/,
  ],
  [
    'a denied path below one that is allowed',
    fileWith({ to: '[{service: a.b, port: 80, allow: [GET /orders/*], deny: ["* /orders/internal/{**}"]}]' }),
    'access_file_invalid',
    /^access\.yaml:\d+:\d+ deny "\* \/orders\/internal\/\{\*\*\}" has no effect on other spellings .* which "GET \/orders\/\*" allows/,
  ],
  [
    'a denied path of a whole port',
    fileWith({ to: '[{service: a.b, port: 80, deny: [GET /admin, TRACE /*]}]' }),
    'access_file_invalid',
    /deny "GET \/admin" has no effect on other spellings .* which "\* \/\*" allows/,
  ],
  [
    'a denied path below a template',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["GET /users/{*}"], deny: [GET /users/root]}]' }),
    'access_file_invalid',
    /deny "GET \/users\/root" has no effect/,
  ],
  [
    'a denied gRPC method of a whole service',
    fileWith({ to: '[{service: a.b, port: 80, grpc: [acme.Orders/*], deny: [POST /acme.Orders/Delete]}]' }),
    'access_file_invalid',
    /has no effect on other spellings .* which "POST \/acme\.Orders\/\*" allows/,
  ],
  [
    'a denied path that covers only one of what is allowed',
    fileWith({ to: '[{service: a.b, port: 80, allow: ["* /*", GET /orders/*], deny: [DELETE /orders/*]}]' }),
    'access_file_invalid',
    /deny "DELETE \/orders\/\*" has no effect on other spellings .* which "\* \/\*" allows/,
  ],
  [
    'claims for a path below one that needs none',
    fileWith({
      to: '[{service: a.b, port: 80, allow: [GET /orders/*, {operation: GET /orders/secret, require: {groups: sre}}]}]',
    }),
    'access_file_invalid',
    /"require" of "GET \/orders\/secret" has no effect on other spellings .* which "GET \/orders\/\*" allows/,
  ],
  [
    'a role of Kubernetes itself',
    fileWith({ more: 'kubernetes: {roles: [cluster-admin@shop]}' }),
    'access_file_invalid',
    /is reserved for Kubernetes/,
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
    /use CLUSTERROLE@NAMESPACE/,
  ],
];
