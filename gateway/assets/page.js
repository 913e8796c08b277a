// The page for people. It talks to the gateway that it came from, and to nothing else.

const at = (id) => document.getElementById(id);

// Makes an element: properties are set, children are appended; text is never read as HTML.
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

const when = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

// ---- what can be done with a URL

async function copy(url, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(url);
    button.textContent = "Copied";
  } catch {
    // Without a clipboard the URL is selected, so that the usual keys copy it.
    const field = make("input", { value: url, readOnly: true, ariaLabel: "URL to copy" });
    button.after(field);
    field.select();
    field.addEventListener("blur", () => field.remove());
    return;
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

function showQr(url, name) {
  const image = at("qr-image");
  image.src = `/api/qr?text=${encodeURIComponent(url)}`;
  image.alt = `QR code of the URL of ${name}`;
  at("qr").showModal();
}

function actions(item, name) {
  const copying = make("button", { type: "button", textContent: "Copy URL", ariaLabel: `Copy the URL of ${name}` });
  copying.addEventListener("click", () => copy(item.url, copying));
  const code = make("button", { type: "button", textContent: "QR", ariaLabel: `QR code of the URL of ${name}` });
  code.addEventListener("click", () => showQr(item.url, name));
  return [copying, code];
}

// ---- storing

function upload(name, path, body, type) {
  const bar = make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${name}` });
  const line = make("li", {}, make("div", {}, name), bar);
  at("uploads").prepend(line);
  const request = new XMLHttpRequest();
  request.open("PUT", path);
  if (type) request.setRequestHeader("content-type", type);
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
    // What is sent is not yet on the disk.
    if (event.loaded === event.total) bar.removeAttribute("value");
  });
  return new Promise((resolve) => {
    request.addEventListener("loadend", () => {
      bar.remove();
      if (request.status === 201) {
        const url = request.responseText.trim();
        const item = { url, path: request.getResponseHeader("location") };
        line.append(make("code", { textContent: url }), make("p", { className: "row" }, ...actions(item, name)));
        list();
      } else {
        const why = request.responseText.trim() || "the gateway does not answer";
        line.append(make("p", { className: "bad", textContent: `Not stored: ${why}` }));
      }
      resolve();
    });
    request.send(body);
  });
}

// A folder is sent as a tar archive (POSIX.1-2001: ustar, and pax headers for long names).
function tar(files) {
  const text = new TextEncoder();
  const parts = [];
  const header = (name, length, time, kind) => {
    const block = new Uint8Array(512);
    const put = (from, bytes) => block.set(bytes, from);
    const octal = (from, width, value) => put(from, text.encode(value.toString(8).padStart(width - 1, "0")));
    put(0, name.subarray(0, 100));
    octal(100, 8, 0o644);
    octal(108, 8, 0);
    octal(116, 8, 0);
    // Beyond 8 GiB the pax header says how long it is.
    octal(124, 12, length < 8 ** 11 ? length : 0);
    octal(136, 12, time);
    put(148, text.encode("        "));
    put(156, text.encode(kind));
    put(257, text.encode("ustar\u000000"));
    const sum = block.reduce((total, byte) => total + byte, 0);
    put(148, text.encode(`${sum.toString(8).padStart(6, "0")}\u0000 `));
    parts.push(block);
  };
  const pad = (length) => parts.push(new Uint8Array((512 - length % 512) % 512));
  const record = (key, value) => {
    const rest = ` ${key}=${value}\n`;
    const length = text.encode(rest).length;
    let total = length + String(length).length;
    total = length + String(total).length;
    return text.encode(total + rest);
  };
  for (const { path, file } of files) {
    const name = text.encode(path);
    const time = Math.max(0, Math.floor(file.lastModified / 1000));
    const pax = [];
    if (name.length > 100) pax.push(record("path", path));
    if (file.size >= 8 ** 11) pax.push(record("size", file.size));
    if (pax.length > 0) {
      const length = pax.reduce((total, one) => total + one.length, 0);
      header(text.encode("pax"), length, time, "x");
      parts.push(...pax);
      pad(length);
    }
    header(name, file.size, time, "0");
    parts.push(file);
    pad(file.size);
  }
  parts.push(new Uint8Array(1024));
  return new Blob(parts);
}

async function storeFiles(files) {
  for (const file of files) await upload(file.name, `/${encodeURIComponent(file.name)}`, file, file.type);
}

function storeFolder(name, files) {
  const inside = files.map(({ path, file }) => ({ path: path.slice(name.length + 1), file }));
  return upload(`${name}/ (${files.length} files)`, `/${encodeURIComponent(name)}?directory`, tar(inside), "application/x-tar");
}

// All files below an entry that was dropped.
async function walk(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path, file }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const one of some) found.push(...await walk(one, `${path}/${one.name}`));
  }
}

function storing() {
  const drop = at("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].filter((item) => item.kind === "file")
      .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
    for (const { entry, file } of entries) {
      if (entry?.isDirectory) await storeFolder(entry.name, await walk(entry, entry.name));
      else if (file) await storeFiles([file]);
    }
  });
  at("choose-files").addEventListener("click", () => at("files").click());
  at("choose-folder").addEventListener("click", () => at("folder").click());
  at("files").addEventListener("change", async (event) => {
    await storeFiles([...event.target.files]);
    event.target.value = "";
  });
  at("folder").addEventListener("change", async (event) => {
    const files = [...event.target.files].map((file) => ({ path: file.webkitRelativePath, file }));
    if (files.length > 0) await storeFolder(files[0].path.split("/")[0], files);
    event.target.value = "";
  });
}

// ---- looking at things

const DIRECTORY = "offsystem/directory";
// Longest text that is shown in place.
const LONGEST_TEXT = 1 << 20;

async function showFile(item, body) {
  const kind = item.type.split("/")[0];
  const name = item.name ?? "file";
  if (kind === "image") return body.replaceChildren(make("img", { src: item.path, alt: name }));
  if (kind === "video") return body.replaceChildren(make("video", { src: item.path, controls: true, ariaLabel: name }));
  if (kind === "audio") return body.replaceChildren(make("audio", { src: item.path, controls: true, ariaLabel: name }));
  const text = kind === "text" || ["application/json", "application/javascript", "application/toml"].includes(item.type);
  if (text && item.length <= LONGEST_TEXT) {
    const answer = await fetch(item.path);
    const content = await answer.text();
    const shown = make("pre", { textContent: content, tabIndex: 0, ariaLabel: `Content of ${name}` });
    if (!answer.ok) shown.className = "bad";
    return body.replaceChildren(shown);
  }
  return body.replaceChildren(make("p", { textContent: "This kind of file is not shown here; open or save it." }));
}

function showDirectory(item, directory, body, crumbs) {
  const rows = directory.entries.map((entry) => {
    const button = make("button", { type: "button", textContent: entry.name + (entry.kind === "directory" ? "/" : "") });
    button.addEventListener("click", () => view({
      ...entry, type: entry.kind === "directory" ? DIRECTORY : entry.type, crumbs: [...crumbs, item],
    }));
    return make("tr", {}, make("td", {}, button), make("td", { textContent: size(entry.length) }),
      make("td", { textContent: entry.time ? when(entry.time) : "" }));
  });
  const head = make("thead", {}, make("tr", {}, ...["Name", "Size", "Changed"].map((title) => make("th", { scope: "col", textContent: title }))));
  body.replaceChildren(make("div", { className: "scroll" }, make("table", {}, head, make("tbody", {}, ...rows))));
  if (!directory.complete) body.append(make("p", { textContent: "Only the first entries are shown." }));
  if (directory.entries.length === 0) body.append(make("p", { textContent: "This directory is empty." }));
}

async function view(item) {
  const crumbs = item.crumbs ?? [];
  const name = item.name ?? "Without a name";
  at("view").hidden = false;
  at("view-title").textContent = name;
  at("crumbs").replaceChildren(...crumbs.flatMap((crumb, number) => {
    const button = make("button", { type: "button", textContent: crumb.name ?? "Without a name" });
    button.addEventListener("click", () => view({ ...crumb, crumbs: crumbs.slice(0, number) }));
    return [button, " / "];
  }));
  const folder = item.type === DIRECTORY;
  at("view-actions").replaceChildren(...[
    make("a", { className: "button", href: folder ? `${item.path}/` : item.path, target: "_blank", rel: "noopener", textContent: folder ? "Open as a site" : "Open" }),
    folder ? null : make("a", { className: "button", href: `${item.path}?download`, textContent: "Save" }),
    ...actions(item, name),
  ].filter(Boolean));
  const body = at("view-body");
  body.replaceChildren(make("p", { textContent: "Reading…" }));
  at("view-title").focus();
  try {
    if (folder) showDirectory(item, await ask(`/api/directory?url=${encodeURIComponent(item.url)}`), body, crumbs);
    else await showFile(item, body);
  } catch (error) {
    body.replaceChildren(make("p", { className: "bad", textContent: `It cannot be read: ${error.message}` }));
  }
}

// What a URL says of itself, as the list has it.
function parse(text) {
  const url = text.trim().replace(/^https?:\/\/[^/]+\/offsystem\//, "off:").replace(/^https?:\/\/[^/]+\/off:/, "off:");
  const parts = url.split("/");
  if (!url.startsWith("off:v4/") || parts.length < 5) return null;
  const last = parts.length > 5 ? decodeURIComponent(parts[parts.length - 1]) : null;
  const inside = parts.length > 6;
  return {
    url, path: `/${url}`, name: last, length: Number(parts[3]),
    type: inside ? "application/octet-stream" : `${parts[1]}/${parts[2]}`.replaceAll("%23", "#"),
  };
}

function opening() {
  at("open").addEventListener("submit", (event) => {
    event.preventDefault();
    const item = parse(at("url").value);
    at("open-error").textContent = item ? "" : "That is no OFF URL of version 4.";
    if (item) view(item);
    else at("url").focus();
  });
  at("view-close").addEventListener("click", () => { at("view").hidden = true; at("url").focus(); });
}

// ---- the list

let known = [];

function row(item) {
  const name = item.name ?? "Without a name";
  const open = make("button", { type: "button", textContent: name });
  open.addEventListener("click", () => view(item));
  const cells = [open, item.type, size(item.length), when(item.time), item.pinned ? "yes" : "no"];
  const doing = make("td", {}, make("div", { className: "row" }, ...actions(item, name)));
  if (item.pinned) {
    const unpin = make("button", { type: "button", textContent: "Unpin", ariaLabel: `Unpin ${name}` });
    unpin.addEventListener("click", async () => {
      if (!confirm(`Unpin ${name}? Its blocks may then be dropped when room is needed.`)) return;
      const answer = await fetch("/api/unpin", { method: "POST", body: item.url });
      if (!answer.ok) alert((await answer.text()).trim());
      list();
    });
    doing.firstChild.append(unpin);
  }
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)), doing);
}

function showList() {
  const wanted = at("filter").value.toLowerCase();
  const found = known.filter((item) => `${item.name ?? ""} ${item.type} ${item.url}`.toLowerCase().includes(wanted));
  at("list").replaceChildren(...found.slice(0, 500).map(row));
  at("list-empty").hidden = known.length > 0;
}

async function list() {
  known = await ask("/api/urls");
  showList();
}

// ---- status

const POINTS = 90;
const EVERY = 2000;
const charts = new Map();

function chart(title, value, text) {
  let one = charts.get(title);
  if (!one) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${POINTS} 40`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(path);
    const shown = make("span");
    at("charts").append(make("figure", {}, svg, make("figcaption", {}, make("span", { textContent: title }), shown)));
    one = { path, shown, values: [] };
    charts.set(title, one);
  }
  one.values.push(value);
  if (one.values.length > POINTS) one.values.shift();
  const most = Math.max(1, ...one.values);
  const begin = POINTS - one.values.length;
  one.path.setAttribute("d", one.values.map((each, number) => `${number ? "L" : "M"}${begin + number} ${38 - 36 * each / most}`).join(""));
  one.shown.textContent = text;
}

let before = null;

function rate(now, key) {
  return before ? Math.max(0, now.figures[key] - before.figures[key]) / ((now.time - before.time) / 1000) : 0;
}

function showStatus(status) {
  const sum = (key) => status.peers.reduce((total, peer) => total + (peer[key] ?? 0), 0);
  const now = { time: performance.now(), figures: { came: sum("pushed") + sum("received"), went: sum("given") } };
  chart("From peers", rate(now, "came"), `${size(Math.round(rate(now, "came")))}/s`);
  chart("To peers", rate(now, "went"), `${size(Math.round(rate(now, "went")))}/s`);
  chart("Endangered blocks", status.endangered, String(status.endangered));
  chart("Store", status.bytes, size(status.bytes));
  before = now;
  const pool = status.pool ? `pool ${status.pool.name}, ${status.live} of ${status.pool.members} members live` : "no pool";
  at("summary").textContent = `${pool} · ${status.blocks} blocks`;
  const facts = {
    Blocks: status.blocks, Size: size(status.bytes), "Room left": size(status.free),
    "Pinned blocks": status.pinned_blocks, Endangered: status.endangered, "Repairs waiting": status.repairs_waiting,
    "Pushes waiting": status.pushes_waiting, "Last audit": status.last_audit ?? "none yet", Peer: status.peer,
  };
  at("store").replaceChildren(...Object.entries(facts).flatMap(([key, value]) => [
    make("dt", { textContent: key }), make("dd", { textContent: String(value ?? "") })]));
  at("services").replaceChildren(...Object.entries(status.services).map(([name, health]) => make("li", {
    className: health.running ? "" : "bad",
    textContent: `${name} ${health.running ? "runs" : "is down"}${health.restarts ? `, started again ${health.restarts} times` : ""}`,
  })));
  at("peers").replaceChildren(...status.peers.map((peer) => make("li", {},
    make("code", { textContent: peer.peer.slice(0, 12) }), ` ${peer.reachable ? "reachable" : "not reachable"}`,
    peer.trouble ? make("span", { className: "bad", textContent: `, ${peer.trouble}` }) : null)));
  if (status.peers.length === 0) at("peers").replaceChildren(make("li", { textContent: "none" }));
}

async function watch() {
  try {
    showStatus(await ask("/api/status"));
  } catch (error) {
    at("summary").textContent = `No status: ${error.message}`;
  }
  setTimeout(watch, document.hidden ? 5 * EVERY : EVERY);
}

storing();
opening();
at("filter").addEventListener("input", showList);
list().catch((error) => { at("summary").textContent = `No list: ${error.message}`; });
watch();
