// The page: controls that send settings, panels that draw what comes. It keeps nothing that the server does not know, but how things look.
import * as draw from "./draw.js";
import { ImagePanel, PatternPanel, drawCurves, drawDetector, drawSpark, drawSpectrum } from "./panels.js";
import { drawHistory, drawProbe, drawTiming } from "./charts.js";

const METHODS = { obf: "OBF", ssb: "SSB", parallax: "parallax (tcBF)", "flipped-parallax": "parallax, flipped", lsq: "least squares", wiener: "posterior mean (Wiener)", wdd: "WDD", icom: "iCOM", dpc: "iDPC" };
const MAP_NAMES = { magma: "magma", gray: "grey", viridis: "viridis", cividis: "cividis", RdBu_r: "blue–red", twilight_shifted: "cyclic" };
// [setting, label, unit, Angstroms (degrees) per unit, sign, least range in units, words]
const KNOBS = [
  ["C10_A", "Underfocus", "nm", 10, -1, 20, (v) => v === 0 ? "in focus" : `${v < 0 ? "underfocus" : "overfocus"} ${draw.length(Math.abs(v))}`],
  ["C12_A", "Astigmatism", "nm", 10, 1, 10], ["phi12_deg", "… its angle", "°", 1, 1, 90],
  ["C21_A", "Coma", "nm", 10, 1, 500], ["phi21_deg", "… its angle", "°", 1, 1, 180],
  ["rotation_deg", "Rotation", "°", 1, 1, 180],
];

const TOLD = { connecting: "connecting", waiting: "waiting for the source", running: "running", complete: "complete", stopped: "stopped", broken: "the source broke off", lost: "no connection: trying again", result: "a finished result", folder: "results as they come", frames: "a scan on the disk" };
const OVER = ["complete", "stopped", "broken"];
const state = (s) => s.scene === "fit" && s.status === "broken" ? "the fit failed" : TOLD[s.status] || s.status;

// `root` holds the elements (a document, or the shadow of one element), `host` carries the theme, `link` says how messages come and go.
export function start({ root, host, maps, store, link, prefersDark = () => matchMedia("(prefers-color-scheme: dark)").matches }) {
const at = (id) => root.getElementById(id), { kept, keep } = store;
draw.begin(host, maps);
let status = { scene: "scan" }, messages = {}, dirty = new Set(), pending = {}, waiting = 0, sent = 0, wordTimer = 0, notes = -1;
const rates = [];

// Theme
const dark = () => kept.theme ? kept.theme === "dark" : prefersDark();
function theme() {
  host.dataset.theme = dark() ? "dark" : "light";
  at("theme").textContent = dark() ? "Light" : "Dark";
  all();
}
at("theme").onclick = () => { keep("theme", dark() ? "light" : "dark"); theme(); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);

// Sending: settings are gathered for a moment, so that a slider does not send more than the server takes.
function send(message) { if (!wire.send(JSON.stringify(message))) word("there is no connection to the server", true); }
function set(values) {
  Object.assign(pending, values);
  Object.assign(status.settings || {}, values);
  if (waiting) return;
  waiting = setTimeout(() => { waiting = 0; sent = performance.now(); send({ type: "set", settings: pending }); pending = {}; }, Math.max(0, 60 - (performance.now() - sent)));
}

// Panels
const image = new ImagePanel(at("image"), at("colours"), (text) => { at("value").textContent = text || "\u00a0"; }, (where) => { if (status.settings) set({ position: where }); });
image.root = root;
const pattern = new PatternPanel(at("pattern"), (d) => {
  const round = (v) => Math.round(v * 1e4) / 1e4;
  set({ centre_y_mrad: round(d.y), centre_x_mrad: round(d.x), inner_mrad: round(d.inner), outer_mrad: round(d.outer) });
  fields();
});
image.robust = kept.contrast !== "full";
at("contrast").value = image.robust ? "robust" : "full";
at("contrast").onchange = (e) => { image.robust = e.target.value === "robust"; keep("contrast", e.target.value); image.restyle(); };
for (const name of draw.MAPS.slice().sort((a, b) => Object.keys(MAP_NAMES).indexOf(a) - Object.keys(MAP_NAMES).indexOf(b))) at("map").add(new Option(MAP_NAMES[name], name));
image.map = MAP_NAMES[kept.map] ? kept.map : "magma";
at("map").value = image.map;
at("map").onchange = (e) => { image.map = e.target.value; keep("map", image.map); image.restyle(); dirty.add("detector"); redraw(); };
for (const [name, words] of Object.entries(METHODS)) at("method").add(new Option(words, name));
at("method").onchange = (e) => set({ method: e.target.value });
at("view").onchange = (e) => set({ view: e.target.value });
at("upsample").onchange = (e) => set({ upsample: Number(e.target.value) });
at("transpose").onchange = (e) => set({ transpose: e.target.checked });
at("mean").onclick = () => { image.pinned = false; set({ position: null }); };
at("centred").onclick = () => { pattern.detector.y = pattern.detector.x = 0; pattern.changed(); };
for (const name of ["inner", "outer"]) at(name).onchange = (e) => { const v = Number(e.target.value); if (e.target.value !== "" && v >= 0) { pattern.resize(name, v); pattern.changed(); } };
for (const name of ["start", "stop", "save", "calibrate"]) at(name).onclick = () => send({ type: name });
at("record").onclick = () => send({ type: "record", on: !status.recording });

const knobs = KNOBS.map(([name, label, unit, per, sign, least, words]) => {
  const row = document.createElement("div"), id = `knob-${name}`;
  row.className = "knob";
  row.innerHTML = `<label for="${id}">${label}</label><input type="range" id="${id}-slider" aria-label="${label}, ${unit}" min="-1" max="1" step="any"><input type="number" id="${id}" step="any"><span class="quiet">${unit}</span>`;
  const [slider, box] = row.querySelectorAll("input");
  const said = words ? row.appendChild(Object.assign(document.createElement("span"), { className: "said" })) : null;
  at("knobs").append(row);
  const knob = { name, per, sign, slider, box, range: 0, low: name.startsWith("C1") && sign > 0 || name.startsWith("C2") ? 0 : -1 };
  knob.reach = (value) => {
    knob.range = Math.max(least, unit === "°" ? least : 2 * Math.abs(value));
    slider.min = knob.low * knob.range; slider.max = knob.range; slider.step = unit === "°" ? 0.5 : knob.range / 400;
  };
  knob.show = (inside) => {
    const value = sign * inside / per;
    if (!knob.range || Math.abs(value) > knob.range * 1.0001) knob.reach(value);
    if (root.activeElement !== slider) slider.value = value;
    if (root.activeElement !== box) box.value = Number(value.toPrecision(4));
    if (said) said.textContent = words(inside);
    slider.setAttribute("aria-valuetext", words ? words(inside) : `${draw.number(value, 4)} ${unit}`);
  };
  const turn = (text) => { const v = Number(text); if (text !== "" && Number.isFinite(v)) { set({ [name]: sign * v * per }); if (said) said.textContent = words(sign * v * per); } return v; };
  slider.oninput = () => { box.value = Number(turn(slider.value).toPrecision(4)); };
  box.onchange = () => { const v = turn(box.value); if (Math.abs(v) > knob.range) knob.reach(v); slider.value = v; };
  return knob;
});

function fields() {
  const d = pattern.detector;
  if (!d) return;
  for (const name of ["inner", "outer"]) if (root.activeElement !== at(name)) at(name).value = Number(d[name].toPrecision(4));
}

// What is told
function word(text, refused = false) {
  const box = at("word");
  clearTimeout(wordTimer);
  box.textContent = text; box.hidden = !text; box.classList.toggle("refused", refused);
  if (text) wordTimer = setTimeout(() => { box.hidden = true; }, refused ? 9000 : 6000);
}

function told() {
  const s = status, running = s.status === "running", can = s.can || [], settings = s.settings;
  scene(s);
  if (root === document) document.title = `${s.name || ""} – exitwave live`;
  at("name").textContent = s.name || ""; at("name").title = s.name || "";
  at("dot").className = `dot ${s.status}`;
  const said = (s.ended || state(s)) + (s.because ? `: ${s.because}` : "");
  if (at("status").textContent !== said) at("status").textContent = said; // read aloud where it changes; how far it is, is not
  at("busy").textContent = s.busy || "";
  at("start").disabled = running || !settings; at("stop").disabled = s.scene === "scan" ? !running : !can.includes("stop");
  at("save").disabled = !can.includes("save") || s.busy !== "";
  at("record").disabled = !can.includes("record"); at("record").setAttribute("aria-pressed", s.recording ? "true" : "false");
  at("record").textContent = s.recording ? "Stop recording" : "Record"; at("record").title = s.recording || "";
  at("calibrate").disabled = !can.includes("calibrate") || s.busy !== "";
  at("rejected").replaceChildren(...Object.entries(s.rejected || {}).map(([reason, n]) => Object.assign(document.createElement("li"), { textContent: `${draw.many(n)} ${reason}` })));
  if (s.part !== undefined) progress(s.part);
  planes(s);
  (NUMBERS[s.scene] || (() => {}))(s, running);
  if (!settings || waiting) return;
  for (const name of ["method", "view"]) at(name).value = settings[name];
  at("upsample").value = String(settings.upsample); at("transpose").checked = settings.transpose;
  knobs.forEach((knob) => knob.show(settings[knob.name]));
  if (String(image.position) !== String(settings.position)) dirty.add("image");
  pattern.set(settings); image.position = settings.position; fields();
  at("which").textContent = settings.position ? `of row ${settings.position[0]}, column ${settings.position[1]}${image.pinned ? ", held" : ""}` : "mean";
  at("mean").hidden = !settings.position;
  for (const id of ["method", "upsample"]) at(id).disabled = settings.view === "detector";
  const unknown = s.lacks ? `No phase image: ${s.lacks}` : (s.unknown || []).length ? `Nobody has stated ${s.unknown.join(" and ")}: Calibrate measures them from the counts, or turn the knobs.` : "";
  at("hint").hidden = !unknown; at("hint").textContent = unknown;
}

const NUMBERS = {
  scan(s, running) {
    const counts = s.events || s.frames || 0;
    at("what").textContent = s.events || !s.frames ? "events" : "frames"; at("events").textContent = draw.many(counts);
    at("rate").textContent = running ? `${draw.many(s.per_second)}/s` : "–";
    at("backlog").textContent = `${draw.number((s.waiting_bytes || 0) / 1e6, 2)} MB`;
    at("refresh").textContent = s.render_s ? `${Math.round(1e3 * s.render_s)} ms` : "–";
    if (running) { rates.push(s.per_second); if (rates.length > 240) rates.shift(); drawSpark(at("spark"), rates); }
  },
  fit(s, running) {
    at("iteration").textContent = s.iterations ? `${s.iteration} of ${s.iterations}` : "–";
    at("loss").textContent = s.loss === undefined ? "–" : draw.number(s.loss, 5);
    at("held").textContent = s.held_out === undefined ? "–" : draw.number(s.held_out, 5);
    at("each").textContent = s.each_s ? draw.time(s.each_s) : "–";
    at("left").textContent = s.each_s && running && !s.busy ? draw.time(s.each_s * (s.iterations - s.iteration)) : "–";
  },
  frames(s) {
    at("scan-size").textContent = s.scan ? s.scan.join(" × ") : "–"; at("frame-size").textContent = s.frame ? s.frame.join(" × ") : "–";
    at("bytes").textContent = s.bytes ? `${draw.many(s.bytes)}B` : "–"; at("read-rate").textContent = s.per_second ? `${draw.many(s.per_second)}B/s` : "–";
  },
};

// What a scene has no use for is hidden.
let shown = "";
function scene(s) {
  if (shown === s.scene) return;
  shown = s.scene;
  for (const part of root.querySelectorAll("[data-scene]")) part.hidden = !part.dataset.scene.split(" ").includes(shown);
  const buttons = { scan: ["start", "stop", "record", "save"], fit: ["stop"] }[shown] || [];
  for (const id of ["start", "stop", "record", "save"]) at(id).hidden = !buttons.includes(id);
  at("optics").hidden = shown !== "scan"; at("patterns").hidden = !["scan", "frames"].includes(shown);
  at("progress").style.visibility = shown === "result" ? "hidden" : "";
  at("detector").parentElement.hidden = shown === "frames";
  at("patterns").classList.toggle("alone", shown === "frames");
  image.hovers = shown === "frames";
  image.waiting = { fit: "the phase comes with the first iteration", frames: "reading the scan" }[shown] || "";
}

function progress(share) {
  const percent = Math.round(1000 * share) / 10;
  at("done").style.width = `${percent}%`; at("progress").setAttribute("aria-valuenow", String(percent));
}

// Results and fits have planes, stacks have layers, folders have files.
function planes(s) {
  const list = s.planes || [], files = s.files || [];
  at("planes").hidden = list.length < 2; at("files").hidden = !files.length; at("layers").hidden = !(s.layers > 1) || (s.scene === "fit" && s.plane === "phase");
  options(at("plane"), list); options(at("file"), files);
  if (list.length) at("plane").value = s.plane;
  if (files.length) at("file").value = s.file;
  if (s.layers > 1) {
    const layer = s.layer === null || s.layer === undefined ? s.layers >> 1 : s.layer;
    at("layer").max = s.layers - 1;
    if (root.activeElement !== at("layer")) at("layer").value = layer;
    at("layer-said").textContent = `${layer + 1} of ${s.layers}${s.depth_A === undefined ? "" : `, ${draw.length(s.depth_A)}`}`;
  }
}
function options(box, list) {
  const same = box.options.length === list.length && list.every(([name, title], i) => box.options[i].value === name && box.options[i].text === title);
  if (!same) box.replaceChildren(...list.map(([name, title]) => new Option(title, name)));
}
at("plane").onchange = (e) => set({ plane: e.target.value });
at("file").onchange = (e) => set({ file: e.target.value });
at("layer").oninput = (e) => set({ layer: Number(e.target.value) });

// A figure that a result does not have is no figure of it; while a scan runs it may still come.
function figure(id, text) {
  if (text || shown !== "scan") at(id).textContent = text || "–";
  at(id).parentElement.hidden = shown === "result" ? !text : shown !== "scan";
}

const TAKE = {
  image(message) {
    image.take(message); dirty.add("image");
    const h = message.header;
    if (status.part === undefined) progress(h.reached);
    at("title").textContent = h.title || `${METHODS[h.method] || ""}, ${draw.number(Math.round(1000 * h.reached) / 10)} % of the scan`;
    figure("dose", h.dose_e_per_A2 === undefined ? "" : `${draw.number(h.dose_e_per_A2)} e/Å²`);
    figure("sigma", h.dose_e_per_A2 === undefined || !h.sigma ? "" : `${draw.number(h.sigma, 2)} ${h.view === "wave" ? "rad" : h.unit}`);
  },
  pattern(message) { pattern.take(message); dirty.add("pattern"); },
  detector(message) { messages.detector = message; dirty.add("detector"); },
  spectrum(message) {
    at("spectra").hidden = !message.arrays.image;
    messages.spectrum = message; dirty.add("spectrum");
    const h = message.header;
    const curves = !!message.arrays.q || shown === "scan";
    at("curves").parentElement.hidden = !curves; at("spectra").classList.toggle("alone", !curves);
    figure("resolution", !("resolution_A" in h) ? "" : !h.last_A ? "no ring yet" : h.resolution_A ? draw.length(h.resolution_A) : `every ring, ${draw.length(h.last_A)}`);
  },
  history(message) { messages.history = message; at("course").hidden = !message.arrays.loss; dirty.add("history"); },
  probe(message) {
    messages.probe = message; at("probes").hidden = !message.arrays.image; dirty.add("probe");
    const shares = message.header.shares || [];
    at("shares").textContent = shares.length > 1 ? `modes with ${shares.map((v) => `${draw.number(100 * v)} %`).join(", ")} of the power` : "";
  },
  timing(message) {
    messages.timing = message; at("lines").hidden = !message.arrays.late_us; dirty.add("timing");
    const h = message.header;
    at("lines-said").textContent = h.lines ? `${h.lines} lines, ${draw.number(h.rms_us)} µs rms` : "";
  },
  status(message) {
    status = message.header;
    if (!status.scene) status.scene = "scan";
    if (notes >= 0 && status.notes > notes) word(status.note);
    notes = status.notes;
    told(); dirty.add("pattern");
  },
  word(message) { if (message.header.words) word(message.header.words, message.header.refused); },
};
const DRAW = { image: () => image.draw(), pattern: () => pattern.draw(), detector: () => drawDetector(at("detector"), messages.detector, image.map),
  spectrum: () => { drawSpectrum(at("spectrum"), messages.spectrum); drawCurves(at("curves"), messages.spectrum); },
  history: () => drawHistory(at("history"), messages.history), probe: () => drawProbe(at("probe"), messages.probe), timing: () => drawTiming(at("timing"), messages.timing) };

let drawing = 0;
function redraw() {
  if (drawing) return;
  drawing = requestAnimationFrame(() => { drawing = 0; const names = [...dirty]; dirty.clear(); names.forEach((name) => DRAW[name]()); });
}
function all() { image.source = pattern.source = null; Object.keys(DRAW).forEach((name) => dirty.add(name)); redraw(); if (rates.length) drawSpark(at("spark"), rates); }
new ResizeObserver(all).observe(at("image"));

// The server sends the next images once these are drawn; a hidden tab draws nothing and answers slowly, which holds up nobody.
const wire = link({
  opened() { word(""); },
  message(buffer) {
    const message = draw.decoded(buffer);
    if (TAKE[message.header.kind]) TAKE[message.header.kind](message);
    redraw();
  },
  asked(answer) { if (document.hidden) setTimeout(answer, 1000); else requestAnimationFrame(answer); },
  lost(reason = "") {
    const over = status.scene === "fit" && OVER.includes(status.status);
    status = over ? { ...status, ended: `${state(status)}, the program has ended`, can: [] } : { ...status, status: "lost", because: reason, busy: "", can: [] };
    told();
  },
});
theme();
}
