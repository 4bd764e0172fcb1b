/** Typed access to the fields of unvalidated objects. */
export { compare, distinct, items, labels, listed, record, text, texts } from './object/members.ts';
