// The page in a browser: its maps, its settings in the browser's storage, and a websocket that is opened again when it is lost.
import { start } from "./page.js";

let kept = {};
try { kept = JSON.parse(localStorage.getItem("exitwave")) || {}; } catch { /* a browser may keep nothing */ }
const store = { kept, keep: (name, value) => { kept[name] = value; try { localStorage.setItem("exitwave", JSON.stringify(kept)); } catch { /* not kept */ } } };

function link(heard) {
  let socket = null, tries = 0;
  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => heard.opened();
    socket.onmessage = (e) => {
      tries = 0;
      if (typeof e.data !== "string") return heard.message(e.data);
      heard.asked(() => socket.readyState === WebSocket.OPEN && socket.send('{"type":"shown"}'));
    };
    socket.onclose = (e) => { heard.lost(e.reason); setTimeout(connect, Math.min(5000, 300 * 2 ** tries++)); };
  }
  connect();
  return { send: (text) => { const open = socket.readyState === WebSocket.OPEN; if (open) socket.send(text); return open; } };
}

const maps = new Uint8Array(await (await fetch("/maps.bin")).arrayBuffer());
start({ root: document, host: document.documentElement, maps, store, link });
