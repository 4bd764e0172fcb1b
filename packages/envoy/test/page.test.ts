import { expect, it } from 'vitest';
import { tablesOfPage } from '../generate/page.ts';
import { ALLOW_LIST } from '../src/allow/list.ts';
import { messageType } from '../src/index.ts';

it('allow-list.md contains the tables of the allow list', () => {
  const { written, expected } = tablesOfPage();
  expect(written).toBe(expected);
});

it('the allow list names only types, fields and choices that Envoy has', () => {
  for (const [name, { free, fields, set = [], oneOf = [] }] of Object.entries(ALLOW_LIST)) {
    const type = messageType(name);
    const known = type.fields.map((field) => field.name);
    const named = [...(free?.split(' ') ?? []), ...Object.keys(fields ?? {}), ...set];
    expect(
      named.filter((field) => !known.includes(field)),
      name,
    ).toEqual([]);
    expect(
      oneOf.filter((choice) => !type.oneofs.some((oneof) => oneof.name === choice)),
      name,
    ).toEqual([]);
  }
});

it('the allow list covers every type of an accepted field, by an entry or a check', () => {
  for (const [name, { free, fields }] of Object.entries(ALLOW_LIST)) {
    for (const field of messageType(name).fields) {
      const rule = fields?.[field.name];
      const accepted = rule || free?.split(' ').includes(field.name);
      if (!accepted || rule?.leaf || !field.message) continue;
      const inner = field.message.typeName;
      const listed = inner === 'google.protobuf.Any' ? rule?.any : ALLOW_LIST[inner];
      expect(listed, `${name}.${field.name}: ${inner}`).toBeDefined();
      for (const type of rule?.any ?? []) expect(ALLOW_LIST[type], type).toBeDefined();
    }
  }
});
