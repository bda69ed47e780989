// Counts what the server does, in the text that Prometheus reads. Labels come from fixed sets: never a space, an id or
// anything else that a client sends.

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

interface Family {
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  readonly values: Map<string, number>;
}

interface Histogram {
  readonly help: string;
  readonly buckets: number[];
  sum: number;
  count: number;
}

export class Metrics {
  readonly #families = new Map<string, Family>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #gauges = new Map<string, { readonly help: string; readonly read: () => number }>();

  /** `labels` as Prometheus writes them, such as `outcome="applied"`. */
  count(name: string, help: string, labels = '', by = 1): void {
    const family = this.#families.get(name) ?? { help, kind: 'counter', values: new Map<string, number>() };
    family.values.set(labels, (family.values.get(labels) ?? 0) + by);
    this.#families.set(name, family);
  }

  observe(name: string, help: string, seconds: number): void {
    const histogram = this.#histograms.get(name) ?? { help, buckets: SECONDS.map(() => 0), sum: 0, count: 0 };
    for (const [index, limit] of SECONDS.entries()) {
      if (seconds <= limit) histogram.buckets[index] = (histogram.buckets[index] ?? 0) + 1;
    }
    histogram.sum += seconds;
    histogram.count += 1;
    this.#histograms.set(name, histogram);
  }

  /** Read whenever somebody asks. */
  gauge(name: string, help: string, read: () => number): void {
    this.#gauges.set(name, { help, read });
  }

  toText(): string {
    const lines: string[] = [];
    for (const [name, { help, kind, values }] of this.#families) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
      for (const [labels, value] of values) lines.push(`${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
    }
    for (const [name, { help, read }] of this.#gauges) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${read()}`);
    }
    for (const [name, histogram] of this.#histograms) lines.push(...histogramLines(name, histogram));
    return `${lines.join('\n')}\n`;
  }
}

function histogramLines(name: string, { help, buckets, sum, count }: Histogram): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} histogram`,
    ...SECONDS.map((limit, index) => `${name}_bucket{le="${limit}"} ${buckets[index] ?? 0}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sum}`,
    `${name}_count ${count}`,
  ];
}
