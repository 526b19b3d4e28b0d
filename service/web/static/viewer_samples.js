// The arithmetic of the viewer: tones of samples, smaller copies, the attention map. No page here.

export const SAMPLES = 65536;
const WHITE = 255;

// Brightness from 0 to 1 of a value in a window (PS3.3 C.11.2.1.2).
export function windowed(value, { centre, width, function: kind }) {
  if (kind === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  const middle = kind === "LINEAR_EXACT" ? centre : centre - 0.5;
  const span = kind === "LINEAR_EXACT" ? width : width - 1;
  if (span <= 0) return value <= middle ? 0 : 1;
  return Math.min(1, Math.max(0, (value - middle) / span + 0.5));
}

// Brightness from 0 to 1 of a value by a VOI LUT: levels at evenly spaced values.
export function tabulated(value, { first, last, levels }) {
  const place = ((value - first) / (last - first)) * (levels.length - 1);
  const below = Math.min(levels.length - 1, Math.max(0, Math.floor(place)));
  const above = Math.min(levels.length - 1, below + 1);
  const share = Math.min(1, Math.max(0, place - below));
  return (levels[below] * (1 - share) + levels[above] * share) / WHITE;
}

// The 65536 pixels (RGBA as one word) that samples are shown as.
export function pixelTable(description, tones, table = new Uint32Array(SAMPLES)) {
  const { slope, intercept, padding } = description;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const value = slope * sample + intercept;
    let level = tones.table ? tabulated(value, tones.table) : windowed(value, tones.window);
    if (tones.inverted) level = 1 - level;
    const grey = Math.round(level * WHITE);
    table[sample] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  }
  if (padding) table.fill(0xff000000, padding[0], padding[1] + 1);
  return table;
}

// Half of the rows and columns of an image of samples, each the mean of four.
export function halved({ samples, rows, columns }) {
  const smaller = { rows: Math.ceil(rows / 2), columns: Math.ceil(columns / 2) };
  smaller.samples = new Uint16Array(smaller.rows * smaller.columns);
  let at = 0;
  for (let row = 0; row < smaller.rows; row += 1) {
    const upper = 2 * row * columns;
    const lower = Math.min(2 * row + 1, rows - 1) * columns;
    for (let column = 0; column < smaller.columns; column += 1) {
      const left = 2 * column;
      const right = Math.min(left + 1, columns - 1);
      smaller.samples[at] =
        (samples[upper + left] + samples[upper + right] + samples[lower + left] + samples[lower + right] + 2) >> 2;
      at += 1;
    }
  }
  return smaller;
}

// An image and its halves down to about so many pixels: the smallest is quick enough for a drag.
export function pyramid(image, leastPixels = 300_000) {
  const levels = [image];
  let last = image;
  while (last.rows * last.columns > 2 * leastPixels) {
    last = halved(last);
    levels.push(last);
  }
  return levels;
}

// The value of an attention map between the centres of its cells, at fractions of the radiograph.
export function attentionAt({ rows, columns, values }, down, across) {
  const row = Math.min(rows - 1, Math.max(0, down * rows - 0.5));
  const column = Math.min(columns - 1, Math.max(0, across * columns - 0.5));
  const top = Math.floor(row);
  const left = Math.floor(column);
  const bottom = Math.min(rows - 1, top + 1);
  const right = Math.min(columns - 1, left + 1);
  const cell = (r, c) => values[r * columns + c];
  const upper = cell(top, left) + (cell(top, right) - cell(top, left)) * (column - left);
  const lower = cell(bottom, left) + (cell(bottom, right) - cell(bottom, left)) * (column - left);
  return upper + (lower - upper) * (row - top);
}

// Cividis (Nunez et al., PLoS ONE 2018): its steps look alike with every kind of colour vision.
const CIVIDIS = [
  [0, 34, 78],
  [37, 55, 107],
  [83, 86, 109],
  [124, 123, 120],
  [165, 159, 116],
  [210, 197, 96],
  [254, 232, 56],
];

export function colourOf(value) {
  const place = Math.min(1, Math.max(0, value)) * (CIVIDIS.length - 1);
  const below = Math.min(CIVIDIS.length - 2, Math.floor(place));
  const share = place - below;
  return CIVIDIS[below].map((part, at) => Math.round(part + (CIVIDIS[below + 1][at] - part) * share));
}

// The pixels of an attention map, side x side: the weaker the evidence, the more transparent.
export function attentionPixels(attention, side) {
  const pixels = new Uint8ClampedArray(4 * side * side);
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      const value = attentionAt(attention, (row + 0.5) / side, (column + 0.5) / side);
      pixels.set([...colourOf(value), Math.round(value * WHITE)], 4 * (row * side + column));
    }
  }
  return pixels;
}
