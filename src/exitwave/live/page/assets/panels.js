// The panels: each keeps its last message and draws it when asked. What a person does to them comes back as calls.
import * as draw from "./draw.js";

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

// Rows that are not done yet are hatched: the image there is an extrapolation of the mean pattern.
function unseen(context, left, top, wide, high, [rows, columns], seen) {
  context.fillStyle = draw.colour("--plate");
  const paths = new Path2D();
  for (let y = 0; y < rows; y++) {
    let x = 0;
    while (x < columns) {
      while (x < columns && draw.bit(seen, y * columns + x)) x++;
      const start = x;
      while (x < columns && !draw.bit(seen, y * columns + x)) x++;
      if (x > start) paths.rect(left + start * wide - 0.4, top + y * high - 0.4, (x - start) * wide + 0.8, high + 0.8);
    }
  }
  context.fill(paths);
  context.fillStyle = draw.hatch(context, draw.colour("--hatch"));
  context.fill(paths);
}

export class ImagePanel {
  constructor(canvas, bar, told, picked) {
    Object.assign(this, { canvas, bar, told, picked, message: null, map: "magma", robust: true, zoom: 1, middle: [0.5, 0.5], cursor: null, source: null });
    this.pointers = new Map();
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); this.zoomAt(e.offsetX, e.offsetY, Math.exp(-e.deltaY / 400)); }, { passive: false });
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (e) => this.up(e));
    canvas.addEventListener("pointerleave", () => { if (!this.pointers.size) { this.cursor = null; this.draw(); } });
    canvas.addEventListener("dblclick", () => this.whole());
    canvas.addEventListener("keydown", (e) => this.key(e));
  }

  take(message) { this.message = message; this.source = null; }
  restyle() { this.source = null; this.draw(); }
  whole() { this.zoom = 1; this.middle = [0.5, 0.5]; this.draw(); }

  // Where the image lies on the canvas, CSS px: [left, top, px per column, px per row].
  placed() {
    const { header, arrays } = this.message, [ny, nx] = arrays.image.shape, [py, px] = header.pitch_A;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const fit = Math.min(width / (nx * px), height / (ny * py)) * this.zoom, sx = fit * px, sy = fit * py;
    return [width / 2 - this.middle[0] * nx * sx, height / 2 - this.middle[1] * ny * sy, sx, sy];
  }

  at(x, y) {
    if (!this.message) return null;
    const [left, top, sx, sy] = this.placed(), [ny, nx] = this.message.arrays.image.shape;
    const column = Math.floor((x - left) / sx), row = Math.floor((y - top) / sy);
    return column >= 0 && row >= 0 && column < nx && row < ny ? [row, column] : null;
  }

  zoomAt(x, y, by) {
    if (!this.message) return;
    const before = this.placed(), [ny, nx] = this.message.arrays.image.shape, u = (x - before[0]) / before[2] / nx, v = (y - before[1]) / before[3] / ny;
    this.zoom = clamp(this.zoom * by, 1, 64);
    const after = this.placed();
    this.middle[0] = clamp(this.middle[0] + u - (x - after[0]) / after[2] / nx, 0, 1);
    this.middle[1] = clamp(this.middle[1] + v - (y - after[1]) / after[3] / ny, 0, 1);
    if (this.zoom === 1) this.middle = [0.5, 0.5];
    this.draw();
  }

  down(e) {
    this.canvas.setPointerCapture(e.pointerId);
    this.pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
    this.travelled = this.pointers.size > 1 ? 99 : 0;
  }

  move(e) {
    const was = this.pointers.get(e.pointerId), now = [e.offsetX, e.offsetY];
    if (was && this.message) {
      this.travelled += Math.hypot(now[0] - was[0], now[1] - was[1]);
      if (this.pointers.size === 2) {
        const other = [...this.pointers].find(([id]) => id !== e.pointerId)[1];
        const spread = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        this.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, spread(now) / Math.max(1, spread(was)));
      } else if (this.zoom > 1) {
        const [, , sx, sy] = this.placed(), [ny, nx] = this.message.arrays.image.shape;
        this.middle = [clamp(this.middle[0] - (now[0] - was[0]) / sx / nx, 0, 1), clamp(this.middle[1] - (now[1] - was[1]) / sy / ny, 0, 1)];
      }
      this.pointers.set(e.pointerId, now);
    }
    this.cursor = this.at(...now);
    this.follow();
    this.draw();
  }

  // Where the panel hovers, the position under the cursor is picked, unless one is held.
  follow() { if (this.hovers && !this.pinned && this.cursor && this.message) this.picked(this.cursor.map((v) => Math.floor(v / this.factor()))); }

  up(e) {
    if (this.pointers.delete(e.pointerId) && e.type === "pointerup" && this.travelled < 5) this.pick(this.at(e.offsetX, e.offsetY));
  }

  pick(where) {
    if (!where) return;
    if (this.hovers) this.pinned = !this.pinned;
    const factor = this.factor();
    this.picked([Math.floor(where[0] / factor), Math.floor(where[1] / factor)]);
  }

  factor() { return this.message.arrays.image.shape[1] / this.message.header.scan[1]; }

  key(e) {
    if (!this.message) return;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key], [ny, nx] = this.message.arrays.image.shape;
    if (step && e.shiftKey) this.middle = [clamp(this.middle[0] + 0.1 * step[1] / this.zoom, 0, 1), clamp(this.middle[1] + 0.1 * step[0] / this.zoom, 0, 1)];
    else if (step) {
      const [row, column] = this.cursor || [ny >> 1, nx >> 1];
      this.cursor = [clamp(row + step[0], 0, ny - 1), clamp(column + step[1], 0, nx - 1)];
    } else if (e.key === "+" || e.key === "=") return this.zoomAt(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, 1.3);
    else if (e.key === "-") return this.zoomAt(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, 1 / 1.3);
    else if (e.key === "0") return this.whole();
    else if (e.key === "Enter") return this.pick(this.cursor || [ny >> 1, nx >> 1]);
    else return;
    e.preventDefault();
    if (step && !e.shiftKey) this.follow();
    this.draw();
  }

  draw() {
    const [context, width, height] = draw.sharp(this.canvas);
    if (!this.message) return this.empty(context, width, height);
    const { header, arrays } = this.message, image = arrays.image, [ny, nx] = image.shape, factor = this.factor();
    if (!this.source) {
      this.limits = draw.limits(image, this.robust ? 0.003 : 0, arrays.seen, factor, header.scan[1]);
      this.source = arrays.angle ? draw.paintedWave(image, arrays.angle, this.limits) : draw.painted(image, this.map, this.limits);
    }
    const [left, top, sx, sy] = this.placed();
    context.imageSmoothingEnabled = false;
    context.drawImage(this.source, left, top, nx * sx, ny * sy);
    if (header.reached < 1 || header.holes) unseen(context, left, top, sx * factor, sy * factor, header.scan, arrays.seen);
    const A_per_px = header.pitch_A[1] / sx, shown = Math.min(width, nx * sx);
    draw.scaleBar(context, Math.max(0, left) + 10, Math.min(height, top + ny * sy) - 10, A_per_px, 0.25 * shown, header.pitch_unit);
    if (this.cursor) this.cross(context, left + (this.cursor[1] + 0.5) * sx, top + (this.cursor[0] + 0.5) * sy);
    if (this.position) this.mark(context, left + (this.position[1] + 0.5) * sx * factor, top + (this.position[0] + 0.5) * sy * factor);
    this.legend(header, image, arrays.angle);
    this.tell(header, image, arrays.angle, factor);
  }

  empty(context, width, height) {
    context.fillStyle = draw.colour("--quiet"); context.font = "14px system-ui, sans-serif"; context.textAlign = "center";
    context.fillText(this.waiting || "waiting for the first counts", width / 2, height / 2);
  }

  cross(context, x, y) {
    for (const [ink, wide] of [["rgba(0,0,0,0.65)", 3], ["#fff", 1]]) {
      context.strokeStyle = ink; context.lineWidth = wide;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { context.moveTo(x + 4 * dx, y + 4 * dy); context.lineTo(x + 11 * dx, y + 11 * dy); }
      context.stroke();
    }
  }

  mark(context, x, y) {
    for (const [ink, wide] of [["rgba(0,0,0,0.65)", 3.5], ["#fff", 1.5]]) { context.strokeStyle = ink; context.lineWidth = wide; context.beginPath(); context.arc(x, y, 6, 0, 7); context.stroke(); }
  }

  legend(header, image, angle) {
    if (angle) return draw.wheelBar(this.bar);
    const scale = (image.high - image.low) / 65535;
    draw.colourBar(this.bar, this.map, image.low + this.limits[0] * scale, image.low + this.limits[1] * scale, header.unit);
  }

  tell(header, image, angle, factor) {
    if (!this.cursor) return this.told("");
    const [row, column] = this.cursor, [ny, nx] = image.shape;
    if (row >= ny || column >= nx) return this.told("");
    const inverse = header.pitch_unit === "1/A", at = (i, n, pitch) => inverse ? `${draw.number((i - (n >> 1)) * pitch)} 1/Å` : header.pitch_unit === "px" ? String(i) : draw.length(i * pitch);
    const where = `y ${at(row, ny, header.pitch_A[0])}, x ${at(column, nx, header.pitch_A[1])}`;
    const seen = draw.bit(this.message.arrays.seen, Math.floor(row / factor) * header.scan[1] + Math.floor(column / factor));
    if (!seen) return this.told(`${where}: ${header.holes && header.reached >= 1 ? "no value" : "not scanned yet"}`);
    const value = draw.level(image, row * nx + column);
    const sigma = header.sigma === "poisson" ? Math.sqrt(Math.max(0, value)) : header.sigma;
    const digits = (v) => header.sigma === "poisson" ? v.toFixed(0) : sigma > 0 ? v.toFixed(clamp(1 - Math.floor(Math.log10(sigma)), 0, 8)) : draw.number(v, 4);
    if (angle) return this.told(`${where}: phase ${draw.level(angle, row * nx + column).toFixed(3)} rad, amplitude ${draw.number(value, 4)}`);
    this.told(`${where}: ${digits(value)}${sigma > 0 ? ` ± ${draw.number(sigma, 2)}` : ""} ${header.unit}`);
  }
}

export class PatternPanel {
  constructor(canvas, moved) {
    Object.assign(this, { canvas, moved, message: null, detector: null, held: null });
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.held = null; });
    canvas.addEventListener("keydown", (e) => this.key(e));
  }

  take(message) { this.message = message; this.source = null; }
  set(settings) { if (!this.held) this.detector = { y: settings.centre_y_mrad, x: settings.centre_x_mrad, inner: settings.inner_mrad, outer: settings.outer_mrad }; }

  // CSS px of the axis, and per mrad.
  scale() {
    const { header, arrays } = this.message, [ny, nx] = arrays.image.shape, side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight);
    const px = side / Math.max(ny, nx), left = (this.canvas.clientWidth - nx * px) / 2, top = (this.canvas.clientHeight - ny * px) / 2;
    return { left, top, px, y: top + (header.centre_px[0] + 0.5) * px, x: left + (header.centre_px[1] + 0.5) * px, mrad: px / header.pixel_mrad };
  }

  down(e) {
    if (!this.message || !this.detector) return;
    this.canvas.setPointerCapture(e.pointerId);
    const s = this.scale(), d = this.detector, r = Math.hypot(e.offsetY - s.y - d.y * s.mrad, e.offsetX - s.x - d.x * s.mrad);
    const near = (mrad) => Math.abs(r - mrad * s.mrad) < 9;
    this.held = near(d.outer) ? "outer" : d.inner > 0 && near(d.inner) ? "inner" : r < d.outer * s.mrad ? "centre" : "outer";
    this.from = [e.offsetY / s.mrad - d.y, e.offsetX / s.mrad - d.x];
    this.move(e);
  }

  move(e) {
    if (!this.held || !this.message) return;
    const s = this.scale(), d = this.detector, r = Math.hypot(e.offsetY - s.y - d.y * s.mrad, e.offsetX - s.x - d.x * s.mrad) / s.mrad;
    if (this.held === "centre") { d.y = e.offsetY / s.mrad - this.from[0]; d.x = e.offsetX / s.mrad - this.from[1]; }
    else this.resize(this.held, r);
    this.changed();
  }

  resize(which, mrad) {
    const d = this.detector, least = 0.5 * this.message.header.pixel_mrad;
    if (which === "outer") d.outer = Math.max(d.inner + least, mrad);
    else d.inner = clamp(mrad < least ? 0 : mrad, 0, d.outer - least);
  }

  key(e) {
    if (!this.detector || !this.message) return;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key], unit = 0.5 * this.message.header.pixel_mrad;
    const size = { "+": 1, "=": 1, "-": -1, "*": 1, "_": -1 }[e.key];
    if (step) { this.detector.y += unit * step[0]; this.detector.x += unit * step[1]; }
    else if (size) { const which = e.shiftKey && e.key !== "+" ? "inner" : "outer"; this.resize(which, this.detector[which] + unit * size); }
    else return;
    e.preventDefault();
    this.changed();
  }

  changed() { this.draw(); this.moved(this.detector); }

  draw() {
    const [context] = draw.sharp(this.canvas);
    if (!this.message) return;
    const { header, arrays } = this.message, [ny, nx] = arrays.image.shape, s = this.scale();
    if (!this.source) this.source = draw.painted(arrays.image, "viridis", [0, 65535], Math.sqrt);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.source, s.left, s.top, nx * s.px, ny * s.px);
    if (header.semiangle_mrad) this.circle(context, s.x, s.y, header.semiangle_mrad * s.mrad, [3, 4], 1);
    const d = this.detector;
    if (!d) return;
    const y = s.y + d.y * s.mrad, x = s.x + d.x * s.mrad;
    context.save(); context.beginPath(); context.rect(s.left, s.top, nx * s.px, ny * s.px); context.clip();
    context.fillStyle = "rgba(255, 255, 255, 0.17)"; context.beginPath();
    context.arc(x, y, d.outer * s.mrad, 0, 7); context.arc(x, y, d.inner * s.mrad, 7, 0, true); context.fill("evenodd");
    this.circle(context, x, y, d.outer * s.mrad, [], 1.8);
    if (d.inner > 0) this.circle(context, x, y, d.inner * s.mrad, [], 1.8);
    context.restore();
  }

  circle(context, x, y, radius, dash, wide) {
    context.setLineDash(dash);
    for (const [ink, more] of [["rgba(0,0,0,0.6)", 2], ["#fff", 0]]) { context.strokeStyle = ink; context.lineWidth = wide + more; context.beginPath(); context.arc(x, y, radius, 0, 7); context.stroke(); }
    context.setLineDash([]);
  }
}

export function drawDetector(canvas, message, map) {
  const [context, width, height] = draw.sharp(canvas);
  if (!message) return;
  const { image, seen } = message.arrays, [ny, nx] = image.shape, px = Math.min(width / nx, height / ny), left = (width - nx * px) / 2, top = (height - ny * px) / 2;
  context.imageSmoothingEnabled = nx > width;
  context.drawImage(draw.painted(image, map, draw.limits(image, 0.003, seen, 1, nx)), left, top, nx * px, ny * px);
  unseen(context, left, top, px, px, [ny, nx], seen);
}

export function drawSpectrum(canvas, message) {
  const [context, width, height] = draw.sharp(canvas);
  if (!message || !message.arrays.image) return;
  const { header, arrays } = message, [ny, nx] = arrays.image.shape, [dy, dx] = header.step_invA;
  const edge = header.aperture_invA, half = Math.min(0.5 * Math.max(ny * dy, nx * dx), edge ? 2.6 * edge : Infinity), px = Math.min(width, height) / 2 / half;
  const left = width / 2 - (Math.floor(nx / 2) + 0.5) * dx * px, top = height / 2 - (Math.floor(ny / 2) + 0.5) * dy * px;
  context.save(); context.beginPath(); context.rect(width / 2 - half * px, height / 2 - half * px, 2 * half * px, 2 * half * px); context.clip();
  context.imageSmoothingEnabled = false;
  context.drawImage(draw.painted(arrays.image, "gray", [0, 255]), left, top, nx * dx * px, ny * dy * px);
  if (arrays.lost) {
    context.drawImage(lostMask(arrays.lost, ny, nx), left, top, nx * dx * px, ny * dy * px);
    context.font = "12px system-ui, sans-serif"; context.textAlign = "left"; context.textBaseline = "middle";
    for (const [times, name] of [[1, "α"], [2, "2α"]]) {
      context.strokeStyle = "rgba(0,0,0,0.7)"; context.lineWidth = 3; context.beginPath(); context.arc(width / 2, height / 2, times * edge * px, 0, 7); context.stroke();
      context.strokeStyle = "#ffd28a"; context.lineWidth = 1.2; context.beginPath(); context.arc(width / 2, height / 2, times * edge * px, 0, 7); context.stroke();
      const x = width / 2 + times * edge * px * Math.SQRT1_2 + 3, y = height / 2 - times * edge * px * Math.SQRT1_2 - 6;
      context.fillStyle = "rgba(0,0,0,0.75)"; context.fillRect(x - 2, y - 8, context.measureText(name).width + 4, 16);
      context.fillStyle = "#ffd28a"; context.fillText(name, x, y);
    }
  }
  context.restore();
}

// The band that is not transferred, as blue diagonals.
function lostMask(lost, ny, nx) {
  const made = document.createElement("canvas");
  made.width = nx; made.height = ny;
  const context = made.getContext("2d"), pixels = context.createImageData(nx, ny), out = new Uint32Array(pixels.data.buffer);
  for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) if (draw.bit(lost, y * nx + x)) out[y * nx + x] = (x + y) % 6 < 2 ? 0xd0b27200 : 0x66b27200;
  context.putImageData(pixels, 0, 0);
  return made;
}

export function drawCurves(canvas, message) {
  const [context, width, height] = draw.sharp(canvas);
  const arrays = message && message.arrays;
  if (!arrays || !arrays.q) {
    context.fillStyle = draw.colour("--quiet"); context.font = "12px system-ui, sans-serif"; context.textAlign = "center";
    return context.fillText("of phase images", width / 2, height / 2);
  }
  const numbers = (name) => Array.from(arrays[name].data), q = numbers("q"), last = Math.min(2.2 * message.header.aperture_invA, q[q.length - 1]);
  const left = 34, wide = width - left - 4, tall = (height - 76) / 2, accent = draw.colour("--accent"), good = draw.colour("--good"), quiet = draw.colour("--quiet");
  const ctf = numbers("ctf"), most = Math.max(...ctf, 1e-12), first = [left, 18, wide, tall], second = [left, 18 + tall + 24, wide, tall];
  draw.plot(context, first, [0, last], [
    { q: [0, last], value: [1 / 7, 1 / 7], ink: quiet, dash: [3, 3], wide: 1 },
    { q: numbers("ctf_q"), value: ctf.map((v) => v / most), ink: good }, { q, value: numbers("frc"), ink: accent }], [-0.15, 1.05],
  [["FRC", accent], ["|CTF|", good], ["1/7", quiet]]);
  const ssnr = numbers("ssnr"), high = 10 ** Math.ceil(Math.log10(Math.max(10, ...ssnr)));
  draw.plot(context, second, [0, last], [{ q: [0, last], value: [1, 1], ink: quiet, dash: [3, 3], wide: 1 },
    { q, value: ssnr, band: numbers("ssnr_sigma"), ink: accent }], [0.1, high], [["SSNR ± σ", accent]], true);
  draw.frequencyAxis(context, second, last);
}

export function drawSpark(canvas, values) {
  const [context, width, height] = draw.sharp(canvas), most = Math.max(...values, 1e-9);
  context.strokeStyle = draw.colour("--accent"); context.lineWidth = 1.4; context.beginPath();
  values.forEach((v, i) => context.lineTo(width * i / Math.max(1, values.length - 1), height - 2 - (height - 4) * v / most));
  context.stroke();
}
