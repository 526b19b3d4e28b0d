// Draws a radiograph, its region and its attention map on a canvas, at a scale and place.

import { attentionPixels, pixelTable, pyramid } from "./viewer_samples.js";

const ATTENTION_SIDE = 224; // pixels of the layer, as many as the network sees
const LARGEST_SCALE = 16; // canvas pixels for one of the image
const SHARP_FROM = 3; // at this scale the pixels themselves are shown
const SETTLED_MS = 150; // after the last movement: then all pixels are drawn
const QUICK_PIXELS = 1_500_000; // that are drawn while something moves

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.levels = []; // of the radiograph, the largest first
    this.layers = new Map(); // level -> its canvas, and the tones that it was painted in
    this.overlay = null; // the picture that is shown instead of the radiograph
    this.attention = null;
    this.opacity = 0;
    this.region = null;
    this.showsRegion = true;
    this.toneNumber = 0;
    this.scale = 1; // canvas pixels for one of the image as stored
    this.left = 0; // of the image, in canvas pixels
    this.top = 0;
    this.fits = true;
    this.movedAt = 0;
    this.frame = 0;
    this.timer = 0;
    this.drawn = 0; // frames, for tests
  }

  setRadiograph(samples, description) {
    this.description = description;
    this.levels = pyramid({ samples, rows: description.rows, columns: description.columns });
    this.layers.clear();
  }

  setTones(tones) {
    this.table = pixelTable(this.description, tones, this.table);
    this.toneNumber += 1;
    this.moved();
  }

  setAttention(attention) {
    this.attention = document.createElement("canvas");
    this.attention.width = ATTENTION_SIDE;
    this.attention.height = ATTENTION_SIDE;
    const pixels = attentionPixels(attention, ATTENTION_SIDE);
    const context = this.attention.getContext("2d");
    context.putImageData(new ImageData(pixels, ATTENTION_SIDE, ATTENTION_SIDE), 0, 0);
  }

  // Rows and columns of what is shown, in pixels as stored.
  get size() {
    if (this.overlay) return { rows: this.overlay.naturalHeight, columns: this.overlay.naturalWidth };
    return { rows: this.description.original_rows, columns: this.description.original_columns };
  }

  get fittingScale() {
    const { rows, columns } = this.size;
    return Math.min(this.canvas.width / columns, this.canvas.height / rows);
  }

  fit() {
    this.fits = true;
    this.place(this.fittingScale);
    this.moved();
  }

  // Shows the image at a scale, its middle in the middle.
  place(scale) {
    const { rows, columns } = this.size;
    this.scale = scale;
    this.left = (this.canvas.width - columns * scale) / 2;
    this.top = (this.canvas.height - rows * scale) / 2;
  }

  actualSize() {
    this.zoomTo(1, this.canvas.width / 2, this.canvas.height / 2);
  }

  // Changes the scale; what is at a place of the canvas stays there.
  zoomTo(scale, x, y) {
    const least = Math.min(1, this.fittingScale) / 2;
    const wanted = Math.min(LARGEST_SCALE, Math.max(least, scale));
    this.left = x - ((x - this.left) * wanted) / this.scale;
    this.top = y - ((y - this.top) * wanted) / this.scale;
    this.scale = wanted;
    this.fits = false;
    this.keepInSight();
    this.moved();
  }

  pan(right, down) {
    this.left += right;
    this.top += down;
    this.fits = false;
    this.keepInSight();
    this.moved();
  }

  // Some of the image stays on the canvas, so that nobody loses it.
  keepInSight() {
    const { rows, columns } = this.size;
    const margin = Math.min(this.canvas.width, this.canvas.height) / 5;
    const within = (place, length, room) => Math.min(room - margin, Math.max(margin - length, place));
    this.left = within(this.left, columns * this.scale, this.canvas.width);
    this.top = within(this.top, rows * this.scale, this.canvas.height);
    if (this.scale >= 1) [this.left, this.top] = [Math.round(this.left), Math.round(this.top)]; // whole pixels
  }

  resize(width, height) {
    if (width === this.canvas.width && height === this.canvas.height) return;
    const middle = [this.canvas.width / 2 - this.left, this.canvas.height / 2 - this.top];
    this.canvas.width = width;
    this.canvas.height = height;
    if (!this.description) return;
    if (this.fits) this.place(this.fittingScale);
    else [this.left, this.top] = [width / 2 - middle[0], height / 2 - middle[1]];
    this.draw();
  }

  // The row and column as stored at a place of the canvas, and the value there; null outside.
  at(x, y) {
    const { rows, columns } = this.size;
    const row = Math.floor((y - this.top) / this.scale);
    const column = Math.floor((x - this.left) / this.scale);
    if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
    if (this.overlay) return { row, column, value: null };
    const { reduction, slope, intercept } = this.description;
    const [full] = this.levels;
    const sample = full.samples[Math.floor(row / reduction) * full.columns + Math.floor(column / reduction)];
    return { row, column, value: slope * sample + intercept };
  }

  // Draws soon: quickly now, and with all pixels when nothing has moved for a moment.
  moved() {
    this.movedAt = performance.now();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.request(), SETTLED_MS);
    this.request();
  }

  request() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.table) return;
    const { rows, columns } = this.size;
    const image = this.overlay ?? this.painted();
    context.imageSmoothingEnabled = this.scale < SHARP_FROM;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, this.left, this.top, columns * this.scale, rows * this.scale);
    if (!this.overlay) this.drawEvidence(columns * this.scale, rows * this.scale);
    this.drawn += 1;
  }

  // The copy of the radiograph that is fine enough, or quick enough while something moves.
  painted() {
    const isMoving = performance.now() - this.movedAt < SETTLED_MS - 20;
    const { original_rows: rows } = this.description;
    let level = this.levels.findLastIndex((each) => each.rows >= Math.min(rows, rows * this.scale) - 1);
    level = Math.max(0, level);
    const isStale = (at) => this.layers.get(at)?.toneNumber !== this.toneNumber;
    if (isMoving && isStale(level)) {
      const quick = this.levels.findIndex((each) => each.rows * each.columns <= QUICK_PIXELS);
      level = Math.max(level, quick < 0 ? this.levels.length - 1 : quick);
    }
    if (isStale(level)) this.paint(level);
    return this.layers.get(level).canvas;
  }

  paint(level) {
    const { samples, rows, columns } = this.levels[level];
    const layer = this.layers.get(level) ?? { canvas: document.createElement("canvas") };
    if (!layer.data) {
      layer.canvas.width = columns;
      layer.canvas.height = rows;
      layer.data = new ImageData(columns, rows);
    }
    const pixels = new Uint32Array(layer.data.data.buffer);
    const { table } = this;
    for (let at = 0; at < samples.length; at += 1) pixels[at] = table[samples[at]];
    layer.canvas.getContext("2d").putImageData(layer.data, 0, 0);
    layer.toneNumber = this.toneNumber;
    this.layers.set(level, layer);
  }

  drawEvidence(width, height) {
    const { context } = this;
    if (this.attention && this.opacity > 0) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.attention, this.left, this.top, width, height);
      context.globalAlpha = 1;
    }
    if (!this.region || !this.showsRegion) return;
    const { top, left, bottom, right } = this.region;
    const box = [this.left + left * width, this.top + top * height, (right - left) * width, (bottom - top) * height];
    const thick = Math.max(2, Math.round(window.devicePixelRatio * 2));
    for (const [colour, line] of [["#000", thick + 2], ["#ffd23f", thick]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(...box);
    }
  }
}
