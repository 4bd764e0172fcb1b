/** The gRPC service `lab.Echo`, written down as a descriptor: nothing is generated for it. */
import { create, toBinary } from '@bufbuild/protobuf';
import { fileDesc, type GenService, serviceDesc } from '@bufbuild/protobuf/codegenv2';
import { base64Encode } from '@bufbuild/protobuf/wire';
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers,
  type StringValueSchema,
} from '@bufbuild/protobuf/wkt';

const TEXT = '.google.protobuf.StringValue';
const text = { inputType: TEXT, outputType: TEXT };

const file = create(FileDescriptorProtoSchema, {
  name: 'lab/echo.proto',
  package: 'lab',
  syntax: 'proto3',
  dependency: ['google/protobuf/wrappers.proto'],
  service: [
    {
      name: 'Echo',
      method: [
        { name: 'Say', ...text },
        { name: 'Count', ...text, serverStreaming: true },
        { name: 'Gather', ...text, clientStreaming: true },
        { name: 'Talk', ...text, clientStreaming: true, serverStreaming: true },
      ],
    },
  ],
});

interface Text<Kind extends 'unary' | 'server_streaming' | 'client_streaming' | 'bidi_streaming'> {
  readonly methodKind: Kind;
  readonly input: typeof StringValueSchema;
  readonly output: typeof StringValueSchema;
}

/**
 * `Say` answers what was said; `Count` counts up to the number that was said; `Gather` joins all that was said; `Talk`
 * answers each part as it comes. Each sends trailer `x-version`. A text `fail CODE` ends the call with that status.
 */
export const Echo: GenService<{
  say: Text<'unary'>;
  count: Text<'server_streaming'>;
  gather: Text<'client_streaming'>;
  talk: Text<'bidi_streaming'>;
}> = serviceDesc(fileDesc(base64Encode(toBinary(FileDescriptorProtoSchema, file)), [file_google_protobuf_wrappers]), 0);
