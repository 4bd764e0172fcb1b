/** Typed access to the fields of objects that have not been validated. */
export { compare, distinct, items, labels, listed, record, text, texts } from './object/members.ts';
