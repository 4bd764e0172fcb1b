/** Text of a refusal is printed safely to a terminal, from any server. */
import { expect, it } from 'vitest';
import { parseRefusal } from '../../src/broker/request.ts';

it('keeps lines, and no control characters', () => {
  const said = 'first\n\u001b[31msecond\u001b]0;title\u0007';
  const refusal = parseRefusal({ error_code: 'not_found', error_description: said });
  expect(refusal).toMatchObject({ code: 'not_found', message: 'first\n\ufffd[31msecond\ufffd]0;title\ufffd' });
});

it.each([undefined, null, 'text', {}, { error_code: 'made_up', error_description: 'x' }])('is none in %j', (answer) => {
  expect(parseRefusal(answer)).toBeUndefined();
});
