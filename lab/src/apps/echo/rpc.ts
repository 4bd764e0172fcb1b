/** Behaviour of `lab.Echo`. */
import { create } from '@bufbuild/protobuf';
import { type StringValue, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { Echo } from './schema.ts';

const MAX_COUNT = 10_000;

/** @returns routes for an adapter of Connect */
export function echoRoutes(version: string): (router: ConnectRouter) => void {
  const begin = (context: HandlerContext): void => context.responseTrailer.set('x-version', version);
  return (router) =>
    router.service(Echo, {
      say: ({ value }, context) => {
        begin(context);
        return said(value);
      },
      async *count({ value }, context) {
        begin(context);
        const end = Math.min(Number(value) || 0, MAX_COUNT);
        for (let n = 1; n <= end; n++) yield said(String(n));
      },
      gather: async (parts, context) => {
        begin(context);
        const all: string[] = [];
        for await (const { value } of parts) all.push(value);
        return said(all.join(' '));
      },
      async *talk(parts, context) {
        begin(context);
        for await (const { value } of parts) yield said(value);
      },
    });
}

function said(value: string): StringValue {
  const [, code] = /^fail (\d+)$/.exec(value) ?? [];
  if (code !== undefined) throw new ConnectError('as asked', Number(code));
  return create(StringValueSchema, { value });
}
