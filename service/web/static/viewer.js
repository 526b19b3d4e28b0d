// The viewer of a radiograph: loads its samples and connects the controls of viewer.html to a view.

import { View } from "./viewer_view.js";

const ZOOM_STEP = 1.25;
const PAN_STEP = 60; // CSS pixels
const TONE_STEP = 0.05; // of the width of the window
const OPACITY_STEP = 5; // per cent
const TRIES = 4; // while the decoders are busy
const CUSTOM = "custom";
const ACCEPTED = "application/problem+json, application/octet-stream";
const STILL_MS = 5000; // for how long the samples wait for the picture

class Viewer {
  constructor(section) {
    this.section = section;
    this.parts = {};
    for (const part of section.querySelectorAll("[data-part]")) this.parts[part.dataset.part] = part;
    this.still = this.parts.still.querySelector("img");
    this.view = new View(this.parts.canvas);
    this.pointers = new Map();
    this.tool = "window";
    const { region, attention } = JSON.parse(section.dataset.evidence);
    this.view.region = region;
    if (attention) this.view.setAttention(attention);
    this.listen();
    this.load();
  }

  // Loading

  async load() {
    this.say("Loading the radiograph …");
    await settled(this.still); // one decoder at a time for one person
    try {
      const response = await this.fetchPatiently(this.section.dataset.radiograph);
      const description = JSON.parse(response.headers.get("x-lobar-radiograph"));
      const samples = new Uint16Array(await response.arrayBuffer());
      if (samples.length !== description.rows * description.columns) throw new Error("The radiograph did not arrive whole. Reload the page.");
      this.open(samples, description);
    } catch (error) {
      this.fail(error.message);
    }
  }

  async fetchPatiently(address) {
    for (let tried = 1; ; tried += 1) {
      const response = await fetch(address, { headers: { accept: ACCEPTED } }).catch(() => {
        throw new Error("The radiograph cannot be loaded: the server does not answer. Reload the page.");
      });
      if (response.ok) return response;
      if (response.status !== 503 || tried === TRIES) throw new Error(await sentenceOf(response));
      this.say("The server is busy with other radiographs; trying again …");
      const seconds = Number(response.headers.get("retry-after")) || 2;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
  }

  open(samples, description) {
    this.description = description;
    this.view.setRadiograph(samples, description);
    this.fillPresets();
    this.start();
    this.reset();
    const { reduction, original_columns: columns, original_rows: rows, colour } = description;
    const notes = [];
    if (reduction > 1) notes.push(`Each pixel is the mean of ${reduction} x ${reduction} of ${columns} x ${rows}.`);
    if (colour) notes.push("The radiograph is stored in colours and shown in grey.");
    this.say(notes.join(" "));
    this.section.dataset.state = "ready";
  }

  fail(sentence) {
    this.say(sentence);
    this.section.dataset.state = "failed";
  }

  start() {
    const { tools, fields, line, canvas, still, stage } = this.parts;
    for (const part of [tools, fields, line, canvas]) part.hidden = false;
    still.hidden = true;
    const { original_columns: columns, original_rows: rows } = this.description;
    stage.style.setProperty("--film", `${columns} / ${rows}`);
    this.section.classList.add("viewer-live");
    new ResizeObserver(() => this.measure()).observe(stage);
    this.measure();
  }

  measure() {
    const { clientWidth, clientHeight } = this.parts.stage;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [clientWidth, clientHeight].map((length) => Math.max(1, Math.round(length * ratio)));
    // the film's shape may give the stage a part of a pixel: the canvas must not be stretched by it
    this.parts.canvas.style.width = `${width / ratio}px`;
    this.parts.canvas.style.height = `${height / ratio}px`;
    this.view.resize(width, height);
  }

  say(sentence) {
    this.parts.status.textContent = sentence;
  }

  // Tones

  fillPresets() {
    const { description, parts } = this;
    const { automatic, windows, table, minimum, maximum, slope, intercept } = description;
    const ends = [minimum, maximum].map((sample) => slope * sample + intercept).sort((a, b) => a - b);
    const width = Math.max(2, ends[1] - ends[0] + 1);
    const whole = { centre: (ends[0] + ends[1] + 1) / 2, width, function: "LINEAR", name: "" };
    this.presets = [
      ...(table ? [{ name: "Header: table", window: description.window, table }] : []),
      ...windows.map((window, at) => ({ name: `Header: ${window.name || `window ${at + 1}`}`, window, table: null })),
      { name: "Automatic", window: automatic, table: null },
      { name: "All values", window: whole, table: null },
    ];
    parts.presets.replaceChildren(
      ...this.presets.map(({ name }, at) => new Option(name, String(at))),
      new Option("Own", CUSTOM),
    );
  }

  setPreset(at) {
    const { window, table } = this.presets[at];
    this.parts.presets.value = String(at);
    this.setTones({ ...this.tones, window, table });
  }

  setWindow(centre, width) {
    const least = this.tones.window.function === "LINEAR" ? 1 : 1e-6;
    const window = { ...this.tones.window, centre, width: Math.max(least, width) };
    this.parts.presets.value = CUSTOM;
    this.setTones({ ...this.tones, window, table: null });
  }

  setTones(tones) {
    this.tones = tones;
    this.view.setTones(tones);
    const { centre, width } = tones.window;
    this.parts.centre.value = rounded(centre);
    this.parts.width.value = rounded(width);
    this.section.querySelector("[data-do=invert]").ariaPressed = String(tones.inverted !== this.description.inverted);
    this.parts.tones.textContent = `Centre ${rounded(centre)}, width ${rounded(width)}${tones.table ? ", by the table of the header" : ""}, ${tones.inverted ? "low values white" : "low values black"}.`;
  }

  // Moves the window by shares of its width: brighter is what the eye sees, inverted or not.
  changeWindow(brighter, wider) {
    const { window, inverted } = this.tones;
    const centre = window.centre + (inverted ? 1 : -1) * brighter * window.width;
    this.setWindow(centre, window.width * Math.exp(wider));
  }

  setOpacity(percent) {
    const { opacity, share } = this.parts;
    if (!opacity) return;
    opacity.value = String(percent);
    share.textContent = `${opacity.value} %`;
    this.view.opacity = Number(opacity.value) / 100;
    this.view.request();
  }

  // Actions

  act(name) {
    const { view } = this;
    const middle = [view.canvas.width / 2, view.canvas.height / 2];
    const actions = {
      in: () => view.zoomTo(view.scale * ZOOM_STEP, ...middle),
      out: () => view.zoomTo(view.scale / ZOOM_STEP, ...middle),
      fit: () => view.fit(),
      actual: () => view.actualSize(),
      invert: () => this.setTones({ ...this.tones, inverted: !this.tones.inverted }),
      reset: () => this.reset(),
      full: () => this.setFull(!this.section.classList.contains("viewer-full")),
      overlay: () => this.show(view.overlay ? "radiograph" : "overlay"),
    };
    actions[name]();
  }

  reset() {
    this.tones = { inverted: this.description.inverted };
    this.setPreset(0);
    this.setTool("window");
    if (this.parts.region) this.parts.region.checked = true;
    this.view.showsRegion = true;
    if (this.parts.opacity) this.setOpacity(this.parts.opacity.defaultValue);
    this.show("radiograph");
    this.view.fit();
  }

  setTool(tool) {
    this.tool = tool;
    for (const button of this.section.querySelectorAll("[data-tool]")) button.ariaPressed = String(button.dataset.tool === tool);
    this.parts.canvas.classList.toggle("viewer-moves", tool === "pan");
  }

  setFull(full) {
    this.section.classList.toggle("viewer-full", full);
    this.section.querySelector("[data-do=full]").ariaPressed = String(full);
    if (full) this.section.requestFullscreen?.().catch(() => {}); // else the window is filled
    else if (document.fullscreenElement) document.exitFullscreen();
    this.measure();
  }

  async show(picture) {
    const address = this.section.dataset.overlay;
    if (picture === "overlay" && !address) return;
    const { view } = this;
    this.wanted = picture;
    if (picture === "overlay") {
      try {
        this.overlay ??= await loaded(address);
      } catch {
        this.say("The overlay cannot be shown: its file is gone or cannot be decoded.");
        return;
      }
      if (this.wanted !== picture) return; // another one was chosen meanwhile
    }
    const changes = Boolean(view.overlay) !== (picture === "overlay");
    view.overlay = picture === "overlay" ? this.overlay : null;
    for (const button of this.section.querySelectorAll("[data-picture]")) button.ariaPressed = String(button.dataset.picture === picture);
    this.parts.fields.classList.toggle("viewer-unused", picture === "overlay");
    for (const field of this.parts.fields.querySelectorAll("input, select")) field.disabled = picture === "overlay";
    this.parts.canvas.ariaLabel = picture === "overlay" ? "Overlay as sent" : "Radiograph";
    if (changes) view.fit();
  }

  // Mouse, touch and keys

  listen() {
    const { section, parts } = this;
    section.addEventListener("click", ({ target }) => {
      const { do: action, tool, picture } = target.dataset;
      if (action) this.act(action);
      if (tool) this.setTool(tool);
      if (picture) this.show(picture);
    });
    section.addEventListener("keydown", (event) => this.onKey(event));
    parts.presets.addEventListener("change", () => parts.presets.value !== CUSTOM && this.setPreset(Number(parts.presets.value)));
    for (const field of [parts.centre, parts.width]) {
      field.addEventListener("change", () => {
        const [centre, width] = [parts.centre.valueAsNumber, parts.width.valueAsNumber];
        if (Number.isFinite(centre) && width > 0) this.setWindow(centre, width);
        else this.setTones(this.tones);
      });
    }
    parts.opacity?.addEventListener("input", () => this.setOpacity(parts.opacity.value));
    parts.region?.addEventListener("change", () => {
      this.view.showsRegion = parts.region.checked;
      this.view.request();
    });
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement && section.classList.contains("viewer-full")) this.setFull(false);
    });
    const { canvas } = parts;
    canvas.addEventListener("pointerdown", (event) => this.onPress(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, ({ pointerId }) => this.pointers.delete(pointerId));
    canvas.addEventListener("pointerleave", () => (parts.place.textContent = ""));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tones) return;
    const isField = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (isField && event.key !== "Escape") return;
    const isArrow = event.key.startsWith("Arrow");
    if (isArrow && event.target !== this.parts.canvas) return;
    if (isArrow ? this.onArrow(event) : this.onLetter(event.key)) event.preventDefault();
  }

  onArrow({ key, shiftKey }) {
    const across = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0;
    const up = { ArrowUp: 1, ArrowDown: -1 }[key] ?? 0;
    const step = PAN_STEP * (window.devicePixelRatio || 1);
    if (!shiftKey) this.view.pan(-across * step, up * step);
    else if (!this.view.overlay) this.changeWindow(up * TONE_STEP, across * TONE_STEP);
    return true;
  }

  onLetter(key) {
    const letters = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "actual", i: "invert", r: "reset", f: "full", o: "overlay" };
    const action = letters[key.toLowerCase()];
    if (action) this.act(action);
    else if (key === "Escape") this.setFull(false);
    else if (key === "[" || key === "]") this.setOpacity(100 * this.view.opacity + (key === "]" ? OPACITY_STEP : -OPACITY_STEP));
    else return false;
    return true;
  }

  place(event) {
    const { left, top } = this.parts.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    return { x: (event.clientX - left) * ratio, y: (event.clientY - top) * ratio };
  }

  onPress(event) {
    const { canvas } = this.parts;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.moves = this.tool === "pan" || event.button > 0 || event.shiftKey || Boolean(this.view.overlay);
    event.preventDefault();
  }

  onMove(event) {
    const now = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.report(now);
    this.pointers.set(event.pointerId, now);
    const [right, down] = [now.x - before.x, now.y - before.y];
    if (this.pointers.size === 1) {
      if (this.moves) this.view.pan(right, down);
      else this.changeWindow((-down / this.view.canvas.height) * 1.5, (right / this.view.canvas.width) * 2);
      return;
    }
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const far = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
    this.view.zoomTo((this.view.scale * far(now)) / far(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
    this.view.pan(right / 2, down / 2);
  }

  onWheel(event) {
    event.preventDefault();
    const { x, y } = this.place(event);
    const notches = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 100 : event.deltaY / 3;
    this.view.zoomTo(this.view.scale * ZOOM_STEP ** -Math.max(-3, Math.min(3, notches)), x, y);
  }

  report({ x, y }) {
    const found = this.view.at(x, y);
    const { place } = this.parts;
    if (!found) place.textContent = "";
    else if (found.value === null) place.textContent = `Row ${found.row + 1}, column ${found.column + 1}.`;
    else place.textContent = `Row ${found.row + 1}, column ${found.column + 1}: ${rounded(found.value)}.`;
  }
}

// Two decimals of small values alone: in thousands of grey levels they say nothing.
function rounded(value) {
  return String(Math.abs(value) < 100 ? Math.round(value * 100) / 100 : Math.round(value));
}

async function sentenceOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The radiograph cannot be loaded: the server answers ${response.status}.`;
  }
}

// Waits until a picture of the page is there, or is known not to come.
function settled(image) {
  if (image.complete) return Promise.resolve();
  return new Promise((resolve) => {
    for (const event of ["load", "error"]) image.addEventListener(event, resolve, { once: true });
    setTimeout(resolve, STILL_MS);
  });
}

async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

for (const section of document.querySelectorAll("[data-viewer][data-radiograph]")) new Viewer(section);
