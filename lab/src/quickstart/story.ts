/** Output of the quickstart: chapters, facts, refusals by layer. Colour and progress only on a terminal. */

export interface Story {
  chapter(title: string, what: string): void;
  /** A command as a person would type it. */
  command(line: string): void;
  done(fact: string): void;
  /** Attempt, layer that refused it, and how. */
  refused(attempt: string, layer: string, how: string): void;
  aside(remark: string): void;
  lines(lines: readonly string[]): void;
  /** Shows the current step. */
  busy<T>(what: string, work: (progress: (line: string) => void) => Promise<T>): Promise<T>;
}

/** Thrown when a step does not go as expected. */
export class StoryBroken extends Error {}

/** Runs a story. @returns the exit code */
export async function tellStory(play: (story: Story) => Promise<void>): Promise<number> {
  const begin = performance.now();
  try {
    await play(storyTo(process.stdout));
    console.log(`\nEvery step went as expected, in ${seconds(performance.now() - begin)}.`);
    return 0;
  } catch (thrown) {
    const broken = thrown instanceof StoryBroken;
    console.error(`\nFailed: ${broken ? thrown.message : ((thrown as Error).stack ?? thrown)}`);
    return 1;
  }
}

function storyTo(out: NodeJS.WriteStream): Story {
  const colour = out.isTTY && !process.env.NO_COLOR;
  const paint = (code: number) => (text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const [bold, dim, green, red, cyan] = [paint(1), paint(2), paint(32), paint(31), paint(36)];
  const say = (line = '') => out.write(`${line}\n`);
  const refusedWidth = 46;
  return {
    chapter: (title, what) => say(`\n${bold(title)}  ${dim(what)}`),
    command: (line) => say(`  ${cyan(`$ ${line}`)}`),
    done: (fact) => say(`  ${green('✓')} ${fact}`),
    refused: (attempt, layer, how) =>
      say(`  ${red('✗')} ${attempt.padEnd(refusedWidth)} ${bold(layer.padEnd(14))} ${dim(how)}`),
    aside: (remark) => say(`  ${dim(remark)}`),
    lines: (lines) => {
      for (const line of lines) say(`    ${line}`);
    },
    async busy(what, work) {
      const begin = performance.now();
      const show = (line: string) => {
        if (out.isTTY) out.write(`\r\x1b[K  ${dim(`… ${line}`)}`);
        else say(`  … ${line}`);
      };
      show(what);
      try {
        return await work(show);
      } finally {
        if (out.isTTY) out.write('\r\x1b[K');
        else say(`  … ${what}: ${seconds(performance.now() - begin)}`);
      }
    },
  };
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
