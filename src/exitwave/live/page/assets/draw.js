// Messages to arrays, arrays to pixels. No state but the colour tables; every function draws what it is given.

export const MAPS = ["gray", "magma", "viridis", "cividis", "RdBu_r", "twilight_shifted"];
const LEVELS = 256, STEPS = 65535;
const tables = {};
let host = null; // the element that carries the theme's colours

export function begin(element, bytes) {
  host = element;
  MAPS.forEach((name, i) => { tables[name] = bytes.subarray(768 * i, 768 * (i + 1)); });
}

const TYPES = { u1: Uint8Array, u2: Uint16Array, f4: Float32Array };

export function decoded(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const arrays = {};
  for (const one of header.arrays) {
    const count = one.shape.reduce((a, b) => a * b, 1);
    arrays[one.name] = { data: new TYPES[one.dtype](buffer, 4 + size + one.offset, count), shape: one.shape, low: one.low, high: one.high };
  }
  return { header, arrays };
}

export const level = (array, i) => array.low === undefined ? array.data[i] : array.low + (array.high - array.low) * array.data[i] / STEPS;
export const bit = (packed, i) => (packed.data[i >> 3] >> (7 - (i & 7))) & 1;

// Raw limits between which the colours run: percentiles of what has been scanned, so that single pixels do not set them.
export function limits(array, share, seen, factor, scanWidth) {
  if (!share) return [0, STEPS];
  const counts = new Uint32Array(4096), [height, width] = array.shape, data = array.data;
  const step = Math.max(1, Math.floor(Math.sqrt(data.length / 4e5)));
  let total = 0;
  for (let y = 0; y < height; y += step) {
    const row = seen ? Math.floor(y / factor) * scanWidth : 0;
    for (let x = 0; x < width; x += step) {
      if (seen && !bit(seen, row + Math.floor(x / factor))) continue;
      counts[data[y * width + x] >> 4]++; total++;
    }
  }
  const at = (want) => { let sum = 0; for (let i = 0; i < 4096; i++) { sum += counts[i]; if (sum > want * total) return i * 16; } return STEPS; };
  const low = at(share), high = at(1 - share) + 15;
  return high > low ? [low, high] : [0, STEPS];
}

const canvasOf = (width, height) => { const made = document.createElement("canvas"); made.width = width; made.height = height; return made; };

export function painted(array, map, [low, high], stretch = (v) => v) {
  const [height, width] = array.shape, made = canvasOf(width, height), context = made.getContext("2d");
  const pixels = context.createImageData(width, height), out = new Uint32Array(pixels.data.buffer), data = array.data, table = tables[map];
  const packed = new Uint32Array(LEVELS);
  for (let i = 0; i < LEVELS; i++) packed[i] = 0xff000000 | table[3 * i + 2] << 16 | table[3 * i + 1] << 8 | table[3 * i];
  const lookup = new Uint32Array(array.low === undefined ? 256 : STEPS + 1), scale = 1 / Math.max(1, high - low);
  for (let v = 0; v < lookup.length; v++) lookup[v] = packed[Math.round(255 * stretch(Math.min(1, Math.max(0, (v - low) * scale))))];
  for (let i = 0; i < data.length; i++) out[i] = lookup[data[i]];
  context.putImageData(pixels, 0, 0);
  return made;
}

// OKLCh (B. Ottosson): equal steps of hue and lightness look equal. Lightness says the amplitude, hue the phase.
function oklch(L, C, h) {
  const a = C * Math.cos(h), b = C * Math.sin(h);
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3, m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3, s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const rgb = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s];
  return rgb.map((v) => Math.round(255 * Math.min(1, Math.max(0, v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055))));
}
const HUES = 128, LIGHTS = 64, wheel = new Uint32Array(HUES * LIGHTS);
for (let h = 0; h < HUES; h++) {
  for (let l = 0; l < LIGHTS; l++) {
    const light = 0.12 + 0.68 * l / (LIGHTS - 1), [r, g, b] = oklch(light, 0.13 * Math.min(1, light / 0.55), 2 * Math.PI * h / HUES);
    wheel[h * LIGHTS + l] = 0xff000000 | b << 16 | g << 8 | r;
  }
}
const wheelAt = (angle, size) => wheel[(((Math.round(angle / (2 * Math.PI) * HUES) % HUES) + HUES) % HUES) * LIGHTS + Math.round(Math.min(1, Math.max(0, size)) * (LIGHTS - 1))];

export function paintedWave(amplitude, angle, [low, high]) {
  const [height, width] = amplitude.shape, made = canvasOf(width, height), context = made.getContext("2d");
  const pixels = context.createImageData(width, height), out = new Uint32Array(pixels.data.buffer);
  const flat = amplitude.high <= amplitude.low;
  for (let i = 0; i < out.length; i++) out[i] = wheelAt(level(angle, i), flat ? 0.8 : (amplitude.data[i] - low) / Math.max(1, high - low));
  context.putImageData(pixels, 0, 0);
  return made;
}

export function paintWheel(context, x, y, radius) {
  const size = 2 * Math.ceil(radius), made = canvasOf(size, size), inner = made.getContext("2d"), pixels = inner.createImageData(size, size);
  const out = new Uint32Array(pixels.data.buffer);
  for (let j = 0; j < size; j++) for (let i = 0; i < size; i++) {
    const dx = i + 0.5 - size / 2, dy = size / 2 - j - 0.5, r = Math.hypot(dx, dy);
    if (r <= radius) out[j * size + i] = wheelAt(Math.atan2(dy, dx), r / radius);
  }
  inner.putImageData(pixels, 0, 0);
  context.drawImage(made, x - radius, y - radius, 2 * radius, 2 * radius);
}

// A canvas as sharp as the screen: its context scaled to CSS pixels, and its size in them.
export function sharp(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

export const colour = (name) => getComputedStyle(host).getPropertyValue(name).trim();
const FONT = '12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';

export function nice(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return power * [5, 2, 1].find((s) => s * power <= length * (1 + 1e-9));
}
export const number = (value, digits = 3) => {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(Math.max(0, digits - 2)).replace("e+", "e") : String(Number(value.toPrecision(digits)));
};
export const length = (A) => A >= 1e4 ? `${number(A / 1e4)} µm` : A >= 10 ? `${number(A / 10)} nm` : `${number(A)} Å`;
export const time = (s) => s >= 5400 ? `${number(s / 3600, 2)} h` : s >= 90 ? `${number(s / 60, 2)} min` : s >= 1 ? `${number(s, 2)} s` : `${number(1e3 * s, 2)} ms`;
export const many = (value) => {
  for (const [size, letter] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]]) if (value >= size) return number(value / size) + letter;
  return number(value);
};

export function scaleBar(context, left, bottom, A_per_px, most, unit) {
  const A = nice(most * A_per_px), wide = A / A_per_px, text = unit === "1/A" ? `${number(A)} 1/Å` : unit === "px" ? `${number(A)} px` : length(A);
  context.font = FONT;
  const box = Math.max(wide, context.measureText(text).width) + 16;
  context.fillStyle = "rgba(0, 0, 0, 0.6)";
  context.fillRect(left, bottom - 36, box, 36);
  context.fillStyle = "#fff";
  context.fillRect(left + (box - wide) / 2, bottom - 11, wide, 4);
  context.textAlign = "center"; context.textBaseline = "alphabetic";
  context.fillText(text, left + box / 2, bottom - 17);
}

export function hatch(context, ink) {
  const tile = canvasOf(8, 8), inner = tile.getContext("2d");
  inner.strokeStyle = ink; inner.lineWidth = 1.2;
  inner.beginPath();
  for (const x of [-8, 0, 8]) { inner.moveTo(x, 8); inner.lineTo(x + 8, 0); }
  inner.stroke();
  return context.createPattern(tile, "repeat");
}

export function colourBar(canvas, map, low, high, unit) {
  const [context, width, height] = sharp(canvas);
  const top = 22, bottom = height - 8, table = tables[map];
  for (let y = top; y < bottom; y++) {
    const i = Math.round(255 * (1 - (y - top) / (bottom - top)));
    context.fillStyle = `rgb(${table[3 * i]},${table[3 * i + 1]},${table[3 * i + 2]})`;
    context.fillRect(0, y, 14, 1.5);
  }
  context.strokeStyle = colour("--line"); context.strokeRect(0.5, top + 0.5, 13, bottom - top - 1);
  context.font = FONT; context.fillStyle = colour("--ink"); context.textAlign = "left"; context.textBaseline = "alphabetic";
  context.fillText(unit, 0, 12);
  if (!(high > low)) return;
  context.textBaseline = "middle";
  const step = tickStep(high - low, Math.max(2, Math.floor((bottom - top) / 46)));
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) {
    const y = bottom - (v - low) / (high - low) * (bottom - top);
    context.fillRect(14, Math.round(y), 4, 1);
    context.fillText(tick(v, step), 20, Math.min(bottom - 5, Math.max(top + 6, y)));
  }
}

const tickStep = (range, most) => { const raw = range / most, power = 10 ** Math.floor(Math.log10(raw)); return power * [1, 2, 5, 10].find((s) => s * power >= raw); };
const tick = (v, step) => Math.abs(v) < step / 2 ? "0" : Math.abs(v) >= 1e5 || step < 1e-3 ? v.toExponential(1).replace("e+", "e") : v.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));

export function wheelBar(canvas) {
  const [context, width, height] = sharp(canvas);
  const radius = Math.min(width / 2 - 16, 24), x = width / 2, y = 64;
  paintWheel(context, x, y, radius);
  context.font = FONT; context.fillStyle = colour("--ink"); context.textAlign = "center"; context.textBaseline = "alphabetic";
  context.fillText("phase", x, 12);
  context.fillText("π/2", x, y - radius - 5);
  context.fillText("−π/2", x, y + radius + 15);
  context.textBaseline = "middle";
  context.fillText("0", x + radius + 8, y);
  context.fillText("π", x - radius - 8, y);
  context.textBaseline = "alphabetic";
  context.fillText("bright:", x, y + radius + 38);
  context.fillText("amplitude", x, y + radius + 53);
}

// Lines against spatial frequency; `axis` [low, high], logarithmic where `log`.
export function plot(context, box, q, lines, axis, words, log = false) {
  const [left, top, width, height] = box, last = q[1], at = (v) => {
    const s = log ? Math.log10(Math.max(v, axis[0])) : v, a = log ? Math.log10(axis[0]) : axis[0], b = log ? Math.log10(axis[1]) : axis[1];
    return top + height * (1 - Math.min(1.02, Math.max(0, (s - a) / (b - a))));
  };
  context.strokeStyle = colour("--line"); context.lineWidth = 1; context.strokeRect(left + 0.5, top + 0.5, width, height);
  context.font = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif'; context.fillStyle = colour("--quiet");
  context.textAlign = "right"; context.textBaseline = "middle";
  const marks = log ? powers(axis) : [0, 0.5, 1];
  for (const v of marks) {
    context.fillText(log && (v >= 1e3 || v < 0.1) ? `1e${Math.round(Math.log10(v))}` : String(v), left - 4, at(v));
    context.fillRect(left, Math.round(at(v)), 4, 1);
  }
  context.save(); context.beginPath(); context.rect(left, top, width, height); context.clip();
  for (const line of lines) {
    context.strokeStyle = line.ink; context.lineWidth = line.wide || 1.6; context.setLineDash(line.dash || []);
    if (line.band) {
      context.globalAlpha = 0.22; context.fillStyle = line.ink; context.beginPath();
      line.q.forEach((x, i) => context.lineTo(left + width * x / last, at(line.value[i] + line.band[i])));
      for (let i = line.q.length - 1; i >= 0; i--) context.lineTo(left + width * line.q[i] / last, at(line.value[i] - line.band[i]));
      context.fill(); context.globalAlpha = 1;
    }
    context.beginPath();
    line.q.forEach((x, i) => context.lineTo(left + width * x / last, at(line.value[i])));
    context.stroke();
  }
  context.restore(); context.setLineDash([]);
  context.textAlign = "left"; context.textBaseline = "alphabetic";
  let x = left;
  for (const [text, ink] of words) { context.fillStyle = ink; context.fillText(text, x, top - 5); x += context.measureText(text).width + 10; }
}

const powers = ([low, high]) => { const made = []; for (let p = Math.ceil(Math.log10(low)); p <= Math.log10(high) + 1e-9; p += 1) made.push(10 ** p); return made.filter((_, i) => i % Math.ceil(made.length / 4) === 0); };

export function frequencyAxis(context, box, last) {
  const [left, top, width, height] = box, step = tickStep(last, 4);
  context.font = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif'; context.fillStyle = colour("--quiet"); context.textAlign = "center"; context.textBaseline = "top";
  for (let v = 0; v <= last * (1 + 1e-9); v += step) {
    const x = left + width * v / last;
    context.fillRect(Math.round(x), top + height - 4, 1, 4);
    context.fillText(tick(v, step), Math.min(left + width - 12, x), top + height + 4);
  }
  context.fillText("spatial frequency (1/Å)", left + width / 2, top + height + 18);
}

// Lines over a plain axis from x[0] to x[1]: each {x, y, ink, dash, band, dots}; `axis` [low, high] of y.
export function chart(context, box, x, axis, lines, words, [below, beside]) {
  const [left, top, width, height] = box, across = (v) => left + width * (v - x[0]) / (x[1] - x[0] || 1), up = (v) => top + height * (1 - (v - axis[0]) / (axis[1] - axis[0] || 1));
  context.strokeStyle = colour("--line"); context.lineWidth = 1; context.strokeRect(left + 0.5, top + 0.5, width, height);
  context.font = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif'; context.fillStyle = colour("--quiet");
  let step = tickStep(axis[1] - axis[0], Math.max(2, Math.floor(height / 24)));
  context.textAlign = "right"; context.textBaseline = "middle";
  for (let v = Math.ceil(axis[0] / step) * step; v <= axis[1] + 1e-9 * step; v += step) { context.fillText(tick(v, step), left - 5, up(v)); context.fillRect(left, Math.round(up(v)), 4, 1); }
  step = Math.max(1, tickStep(x[1] - x[0], Math.max(2, Math.floor(width / 48))));
  context.textAlign = "center"; context.textBaseline = "top";
  for (let v = Math.ceil(x[0] / step) * step; v <= x[1] + 1e-9 * step; v += step) { context.fillRect(Math.round(across(v)), top + height - 4, 1, 4); context.fillText(tick(v, step), across(v), top + height + 4); }
  context.textAlign = "left"; context.fillText(below, left, top + height + 18);
  context.textBaseline = "alphabetic"; context.fillText(beside, 0, top - 6);
  context.save(); context.beginPath(); context.rect(left, top, width, height); context.clip();
  for (const line of lines) {
    context.strokeStyle = context.fillStyle = line.ink; context.lineWidth = line.wide || 1.6; context.setLineDash(line.dash || []);
    if (line.band) {
      context.globalAlpha = 0.22; context.beginPath();
      line.x.forEach((v, i) => context.lineTo(across(v), up(line.y[i] + line.band[i])));
      for (let i = line.x.length - 1; i >= 0; i--) context.lineTo(across(line.x[i]), up(line.y[i] - line.band[i]));
      context.fill(); context.globalAlpha = 1;
    }
    context.beginPath(); line.x.forEach((v, i) => context.lineTo(across(v), up(line.y[i]))); context.stroke();
    if (line.dots) line.x.forEach((v, i) => { context.beginPath(); context.arc(across(v), up(line.y[i]), 2.2, 0, 7); context.fill(); });
  }
  context.restore(); context.setLineDash([]);
  context.textAlign = "right"; context.textBaseline = "alphabetic";
  let at = left + width;
  for (const [text, ink] of words.slice().reverse()) { context.fillStyle = ink; context.fillText(text, at, top - 6); at -= context.measureText(text).width + 12; }
}
