// Drawings of one message each: the course of a fit, its probe, the timing of scan lines.
import * as draw from "./draw.js";

const inside = (values) => { const sorted = values.slice().sort((a, b) => a - b); return [sorted[0], sorted[sorted.length - 1]]; };

export function drawHistory(canvas, message) {
  const [context, width, height] = draw.sharp(canvas);
  if (!message || !message.arrays.loss) return;
  const loss = Array.from(message.arrays.loss.data), held = message.arrays.held_out ? Array.from(message.arrays.held_out.data) : [], n = loss.length;
  // The first iterations fall far: once there are more, they may leave the box at its top.
  const skip = n > 12 ? Math.floor(n / 8) : 0, [low, high] = inside([...loss.slice(skip), ...held.slice(skip)]), room = 0.06 * (high - low) || 0.01 * Math.abs(high) || 1;
  const x = loss.map((_, i) => i + 1), accent = draw.colour("--accent"), warn = draw.colour("--warn"), lines = [{ x, y: loss, ink: accent, dots: n < 30 }];
  const words = [["fitted", accent]];
  if (held.length) { lines.push({ x, y: held, ink: warn, dash: [5, 3], dots: n < 30 }); words.push(["held out", warn]); }
  draw.chart(context, [62, 20, width - 74, height - 56], [1, Math.max(2, n)], [low - room, high + room], lines, held.length ? words : [], ["iteration", "loss of a pattern"]);
}

export function drawProbe(canvas, message) {
  const [context, width, height] = draw.sharp(canvas);
  if (!message || !message.arrays.image) return;
  const { image, angle } = message.arrays, { pitch_A, shares } = message.header, [ny, nx] = image.shape, wheel = 74;
  const tall = ny * pitch_A[0], wide = nx * pitch_A[1], fit = Math.min((width - wheel) / wide, height / tall), w = wide * fit, h = tall * fit;
  context.imageSmoothingEnabled = false;
  context.drawImage(draw.paintedWave(image, angle, [0, 65535]), 0, 0, w, h);
  context.strokeStyle = draw.colour("--plate"); context.lineWidth = 2;
  for (let i = 1; i < shares.length; i++) { context.beginPath(); context.moveTo(w * i / shares.length, 0); context.lineTo(w * i / shares.length, h); context.stroke(); }
  draw.scaleBar(context, 6, h - 6, 1 / fit, 0.3 * w / shares.length, "A");
  const r = 20, x = Math.min(width - wheel / 2, w + wheel / 2 + 6), y = height / 2;
  draw.paintWheel(context, x, y, r);
  context.font = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif'; context.fillStyle = draw.colour("--quiet"); context.textAlign = "center"; context.textBaseline = "middle";
  context.fillText("phase", x, y - r - 22);
  for (const [text, dx, dy] of [["0", r + 7, 0], ["π", -r - 8, 0], ["π/2", 0, -r - 8], ["−π/2", 0, r + 9]]) context.fillText(text, x + dx, y + dy);
}

export function drawTiming(canvas, message) {
  const [context, width, height] = draw.sharp(canvas);
  if (!message || !message.arrays.late_us) return;
  const all = Array.from(message.arrays.late_us.data), errors = Array.from(message.arrays.error_us.data), dwell = message.header.dwell_us;
  const known = all.map((_, i) => i).filter((i) => errors[i] >= 0), late = known.map((i) => all[i]), error = known.map((i) => errors[i]);  // a line may show nothing
  const accent = draw.colour("--accent"), warn = draw.colour("--warn"), quiet = draw.colour("--quiet"), first = 0, last = Math.max(1, all.length - 1);
  const most = 1.15 * Math.max(...late.map((v, i) => Math.abs(v) + error[i]), dwell && dwell < 4 * Math.max(...late.map(Math.abs)) ? dwell : 0, 1e-6);
  const flat = (y, ink, dash) => ({ x: [first, last], y: [y, y], ink, dash, wide: 1 }), lines = [flat(0, quiet, [2, 3])];
  if (dwell) lines.push(flat(dwell, warn, [5, 3]), flat(-dwell, warn, [5, 3]));
  lines.push({ x: known, y: late, band: error, ink: accent, dots: late.length < 60 });
  const words = [["± 1σ", accent], ...(dwell && dwell < most ? [["one position", warn]] : [])];
  draw.chart(context, [48, 20, width - 60, height - 56], [first, last], [-most, most], lines, words, ["scan line", "later by / µs"]);
}
