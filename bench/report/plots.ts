/** Kinds of plots: bars beside each other, bars of parts, and curves over an axis. */
import { bar, curve, GOAL_COLOUR, goal, inkOn, legend, PALETTE, picture, rule, short, text, ticks } from './svg.ts';

export interface BarPanel {
  readonly title: string;
  /** Label per series, in their order. */
  readonly values: readonly number[];
}

const WIDTH = 880;
const MARGIN = 20;
const VALUE = { anchor: 'middle', size: 11 } as const;

/** Panels in a row, each with its own scale and one bar for each series. */
export function barPanels(title: string, series: readonly string[], panels: readonly BarPanel[]): string {
  const [top, height, foot] = [70, 150, 40];
  const each = (WIDTH - 2 * MARGIN) / panels.length;
  const shapes = [
    text(MARGIN, 26, title, { size: 15, bold: true }),
    legend([MARGIN, 50], WIDTH - 2 * MARGIN, series, PALETTE).shape,
  ];
  for (const [index, panel] of panels.entries()) {
    const left = MARGIN + index * each;
    const most = Math.max(...panel.values);
    const slot = (each - 30) / panel.values.length;
    shapes.push(rule(left, top + height, left + each - 20, top + height));
    for (const [which, value] of panel.values.entries()) {
      const tall = ((height - 20) * value) / most;
      const x = left + 5 + which * slot;
      shapes.push(bar(x, top + height - tall, slot - 8, tall, PALETTE[which]!));
      shapes.push(text(x + (slot - 8) / 2, top + height - tall - 5, short(value), { anchor: 'middle', size: 11 }));
    }
    shapes.push(text(left + (each - 20) / 2, top + height + 20, panel.title, { anchor: 'middle', size: 11 }));
  }
  return picture(WIDTH, top + height + foot, title, shapes);
}

/** Stacked bar for each row; a part has the same colour in all bars. */
export function stackedBars(
  title: string,
  unit: string,
  rows: readonly { readonly label: string; readonly parts: Readonly<Record<string, number>> }[],
): string {
  const sums = rows.map(({ parts }) => Object.values(parts).reduce((sum, value) => sum + value, 0));
  const least = Math.max(...sums) / 200; // less cannot be seen
  // The last row has the longest path, and so the order of most parts.
  const all = rows.toReversed().flatMap(({ parts }) => Object.keys(parts).filter((name) => parts[name]! > least));
  const names = [...new Set(all)];
  const key = legend([MARGIN, 50], WIDTH - 2 * MARGIN, names, PALETTE);
  const [top, tall, step, label] = [50 + key.height, 24, 36, 100];
  const scale = (WIDTH - label - MARGIN - 80) / Math.max(...sums);
  const shapes = [text(MARGIN, 26, title, { size: 15, bold: true }), key.shape];
  for (const [index, { label: name, parts }] of rows.entries()) {
    const y = top + index * step;
    shapes.push(text(label - 8, y + 16, name, { anchor: 'end' }));
    let x = label;
    for (const [which, part] of names.entries()) {
      const wide = (parts[part] ?? 0) * scale;
      if (wide > 0) shapes.push(bar(x, y, wide, tall, PALETTE[which]!));
      if (wide > 34)
        shapes.push(text(x + wide / 2, y + 16, short(parts[part]!), { ...VALUE, colour: inkOn(PALETTE[which]!) }));
      x += wide;
    }
    shapes.push(text(x + 8, y + 16, `${short(sums[index]!)} ${unit}`, { bold: true }));
  }
  return picture(WIDTH, top + rows.length * step + 10, title, shapes);
}

export interface CurvePanel {
  readonly title: string;
  /** Values by series, then by place on the axis. */
  readonly values: readonly (readonly number[])[];
  readonly goal: readonly number[];
}

/** Panels in a row over the same axis, each with its own scale; the goal is dashed. */
export function curvePanels(
  title: string,
  series: readonly { readonly name: string; readonly colour: string }[],
  axis: readonly number[],
  unit: string,
  panels: readonly CurvePanel[],
): string {
  const [top, height] = [92, 170];
  const each = (WIDTH - 2 * MARGIN) / panels.length;
  const colours = [...series.map(({ colour }) => colour), GOAL_COLOUR];
  const names = [...series.map(({ name }) => name), 'goal'];
  const key = legend([MARGIN, 50], WIDTH - 2 * MARGIN, names, colours);
  const shapes = [text(MARGIN, 26, title, { size: 15, bold: true }), key.shape];
  const furthest = Math.max(...axis);
  for (const [index, panel] of panels.entries()) {
    const [left, wide] = [MARGIN + index * each + 44, each - 64];
    const marks = ticks(Math.max(...panel.values.flat(), ...panel.goal));
    const x = (place: number) => left + (wide * place) / furthest;
    const y = (value: number) => top + height - (height * value) / marks.at(-1)!;
    const points = (values: readonly number[]) => values.map((value, place) => [x(axis[place]!), y(value)] as const);
    shapes.push(text(left - 40, top - 16, panel.title, { size: 12, bold: true }));
    for (const mark of marks) {
      shapes.push(rule(left, y(mark), left + wide, y(mark)));
      shapes.push(text(left - 6, y(mark) + 4, short(mark), { anchor: 'end', size: 10 }));
    }
    for (const place of axis)
      shapes.push(text(x(place), top + height + 16, String(place), { anchor: 'middle', size: 10 }));
    shapes.push(text(left + wide / 2, top + height + 34, unit, { anchor: 'middle', size: 11 }));
    shapes.push(goal(points(panel.goal)));
    for (const [which, values] of panel.values.entries()) shapes.push(curve(points(values), colours[which]!));
  }
  return picture(WIDTH, top + height + 46, title, shapes);
}
