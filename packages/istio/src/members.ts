/** Members of objects that were not validated: a list where a list should be, text where text should be, or nothing. */
export { items, labels, listed, record, text, texts } from './object/members.ts';
