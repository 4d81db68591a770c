// The page inside an element of a notebook. PARTS, put before this, holds its modules as text: each becomes an address that the next imports.
async function modules() {
  const urls = {};
  for (const [name, text] of Object.entries(PARTS.modules)) {
    const linked = text.replace(/from "\.\/(\w+)\.js"/g, (_, other) => `from "${urls[other]}"`);
    urls[name] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
  }
  const page = await import(urls.page);
  Object.values(urls).forEach((url) => URL.revokeObjectURL(url));
  return page;
}

function storage() {
  try { return JSON.parse(localStorage.getItem("exitwave") || "{}"); } catch { return {}; } // a notebook may have none
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function render({ model, el }) {
  const host = el.appendChild(document.createElement("div")), root = host.attachShadow({ mode: "open" });
  root.innerHTML = `<style>${PARTS.style}</style><div class="inside">${PARTS.body}</div>`;
  const kept = storage();
  const keep = (name, value) => { kept[name] = value; try { localStorage.setItem("exitwave", JSON.stringify(kept)); } catch { /* not kept */ } };
  let hear = null;
  const link = (heard) => {
    hear = (message, buffers) => {
      if (message.kind === "drawn?") return heard.asked(() => model.send({ type: "shown" }));
      const data = buffers[0];
      heard.message(ArrayBuffer.isView(data) ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : data);
    };
    model.on("msg:custom", hear);
    return { send: (text) => { model.send(JSON.parse(text)); return true; } };
  };
  const prefersDark = () => document.body.dataset.jpThemeLight ? document.body.dataset.jpThemeLight === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
  (await modules()).start({ root, host, maps: bytes(PARTS.maps), store: { kept, keep }, link, prefersDark });
  model.send({ type: "hello" });
  return () => model.off("msg:custom", hear);
}

export default { render };
