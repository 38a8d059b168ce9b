// Counts, bytes, rates and shares as people read them.

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `1,204`. */
export function formatCount(value: number): string {
  return Number.isFinite(value) ? grouped.format(value) : '–';
}

/** `1.2 k`, `34 M`: at most three figures and a unit. */
function scaled(value: number, step: number, units: string[]): string {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= step && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  const decimals = unit > 0 && size < 9.95 ? 1 : 0;
  // 999.7 kB is 1.0 MB, not 1000 kB.
  if (Number(size.toFixed(decimals)) >= step && unit < units.length - 1) return scaled(Math.sign(value) * step ** (unit + 1), step, units);
  return `${value < 0 ? '-' : ''}${size.toFixed(decimals)} ${units[unit]}`.trim();
}

/** `118 B`, `1.2 kB`, `3.4 GB` (powers of 1000, as disks and networks count). */
export function formatBytes(value: number): string {
  return Number.isFinite(value) ? scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']) : '–';
}

/** `1.2 k`, for axes and narrow places. */
export function formatShort(value: number): string {
  return Number.isFinite(value) ? scaled(value, 1000, ['', 'k', 'M', 'G', 'T']) : '–';
}

/** `0`, `0.4`, `12`, `1,204`; per second. */
export function formatRate(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value !== 0 && Math.abs(value) < 9.95) return value.toFixed(1);
  return grouped.format(value);
}

export function formatByteRate(value: number): string {
  return `${formatBytes(value)}/s`;
}

/** `0 %`, `0.02 %`, `12.5 %`: what is not nothing never reads as 0. */
export function formatPercent(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0 %';
  if (Math.abs(value) < 0.01) return '<0.01 %';
  return `${value.toFixed(Math.abs(value) < 1 ? 2 : 1).replace(/\.0$/, '')} %`;
}

/** `1 packet`, `2 packets`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${formatCount(value)} ${value === 1 ? one : many}`;
}
