/**
 * The allow list. It contains every message type that a workspace's configuration may use, along with the accepted
 * fields.
 */
import { CLUSTER_TYPES } from './cluster.ts';
import { HTTP_TYPES } from './http.ts';
import { LISTENER_TYPES } from './listener.ts';
import { ROUTE_TYPES } from './route.ts';
import type { AllowList } from './rule.ts';
import { TLS_TYPES } from './tls.ts';

const VALUE_TYPES: AllowList = {
  'envoy.type.v3.Percent': { whole: true, free: 'value' },
  'envoy.type.v3.FractionalPercent': { whole: true, free: 'numerator denominator' },
  'envoy.type.v3.Int64Range': { whole: true, free: 'start end' },
  'envoy.config.core.v3.RuntimeFractionalPercent': { whole: true, free: 'default_value' },
  'google.protobuf.Duration': { whole: true, free: 'seconds nanos' },
  'google.protobuf.BoolValue': { whole: true, free: 'value' },
  'google.protobuf.UInt32Value': { whole: true, free: 'value' },
  'google.protobuf.UInt64Value': { whole: true, free: 'value' },
  'google.protobuf.DoubleValue': { whole: true, free: 'value' },
  'google.protobuf.StringValue': { whole: true, free: 'value' },
  'google.protobuf.Struct': { whole: true, free: 'fields' },
  'google.protobuf.Value': {
    whole: true,
    free: 'null_value number_value string_value bool_value struct_value list_value',
  },
  'google.protobuf.ListValue': { whole: true, free: 'values' },
};

export const ALLOW_LIST: AllowList = {
  ...LISTENER_TYPES,
  ...HTTP_TYPES,
  ...ROUTE_TYPES,
  ...CLUSTER_TYPES,
  ...TLS_TYPES,
  ...VALUE_TYPES,
};
