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

const SVG = "http://www.w3.org/2000/svg";

function draw(name, properties, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const icon = (name) => draw("svg", { class: "icon", "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));

// Text that did not change is left alone, so that it can be selected and is not read out again.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

const when = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const number = (value) => (value ?? 0).toLocaleString();
const count = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;

function ago(seconds) {
  if (seconds < 100) return `${seconds} s ago`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

const SILENT = "The daemon does not answer. Is it running?";

// Asks the gateway; what goes wrong is an error with a sentence for people.
async function fetched(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(SILENT);
  }
  if (answer.ok) return answer;
  const why = options?.method === "HEAD" ? "" : (await answer.text()).trim();
  if (answer.status === 403) throw new Error(`This page works on the machine of the daemon only; it says: ${why}.`);
  throw new Error(why || `The daemon answered with ${answer.status}.`);
}

const ask = async (path) => (await fetched(path, { headers: { accept: "application/json" } })).json();

// ---- kinds of things

const DIRECTORY = "offsystem/directory";
const TEXTS = /^text\/|^application\/(json|javascript|toml|xml|x-sh|x-yaml|yaml|sql)$|\+(json|xml)$/;
const KINDS = { image: "Picture", audio: "Audio", video: "Video", text: "Text" };

// Which icon stands for a media type, and how it is shown.
function kindOf(type) {
  const first = type?.split("/")[0];
  if (type === DIRECTORY) return "folder";
  if (["image", "audio", "video"].includes(first)) return first;
  return TEXTS.test(type ?? "") ? "text" : "file";
}

function inWords(type) {
  if (type === DIRECTORY) return "Folder";
  const [first, second] = (type ?? "").split("/");
  if (!second || type === "application/octet-stream") return "File";
  const short = second.replace(/^x-|^vnd\./, "").replace(/\+xml$/, "").slice(0, 16);
  return KINDS[first] ? `${KINDS[first]}, ${short}` : short;
}

// ---- what can be done with a URL

async function copy(url, button) {
  try {
    await navigator.clipboard.writeText(url);
  } catch {
    // Without a clipboard the URL is selected, so that the usual keys copy it.
    const field = make("input", { value: url, readOnly: true, className: "url", ariaLabel: "URL; press Ctrl and C to copy it" });
    button.after(field);
    field.select();
    field.addEventListener("blur", () => field.remove());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); button.focus(); }
    });
    say(at("said"), "The URL is selected. Press Ctrl and C to copy it.");
    return;
  }
  say(at("said"), "The URL is copied.");
  if (button.dataset.before) return;
  button.dataset.before = button.textContent;
  // So that nothing moves.
  button.style.minWidth = `${button.offsetWidth}px`;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = button.dataset.before; delete button.dataset.before; }, 1500);
}

function showQr(url, name) {
  const image = at("qr-image");
  image.hidden = false;
  say(at("qr-name"), name);
  say(at("qr-error"), "");
  image.alt = `QR code of the URL of ${name}`;
  image.src = `/api/qr?text=${encodeURIComponent(url)}`;
  at("qr").showModal();
}

function actions(url, name) {
  const copying = make("button", { type: "button", textContent: "Copy URL", ariaLabel: `Copy URL of ${name}` });
  copying.addEventListener("click", () => copy(url, copying));
  const code = make("button", { type: "button", textContent: "QR", ariaLabel: `QR code of the URL of ${name}` });
  code.addEventListener("click", () => showQr(url, name));
  return [copying, code];
}

// A link that shows something on this page.
const opens = (url, name, kind) => make("a", { className: "name", href: `#${url}` }, icon(kind), make("span", { textContent: name }));

// ---- storing

// Things are stored one after the other; this is when the last of them is done.
let queue = Promise.resolve();
let underWay = 0;

// Makes a line for something that is to be stored, and stores it when its turn comes. `body` gives what is sent.
function upload(name, kind, path, length, body, type) {
  const state = make("span", { className: "quiet", textContent: "waiting" });
  const stop = make("button", { type: "button", textContent: "Cancel", ariaLabel: `Cancel ${name}` });
  const bar = make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${name}` });
  const line = make("li", {}, make("div", { className: "row head" }, make("span", { className: "name" }, icon(kind), make("span", { textContent: name })), state, stop), bar);
  const request = new XMLHttpRequest();
  let cancelled = false;
  stop.addEventListener("click", () => { cancelled = true; request.abort(); if (line.contains(bar)) finish(); });
  at("uploads").append(line);
  underWay += 1;

  function finish() {
    if (!line.contains(bar)) return;
    underWay -= 1;
    bar.remove();
    const focused = document.activeElement === stop;
    const away = make("button", { type: "button", textContent: "Dismiss", ariaLabel: `Dismiss ${name}` });
    away.addEventListener("click", () => {
      (line.nextElementSibling?.querySelector("button") ?? at("choose-files")).focus();
      line.remove();
    });
    stop.replaceWith(away);
    if (focused) away.focus();
    if (request.status === 201) {
      const url = request.responseText.trim();
      line.querySelector(".name").replaceWith(opens(url, name, kind));
      say(state, length === null ? "stored" : `stored, ${size(length)}`);
      const field = make("input", { className: "url", value: url, readOnly: true, ariaLabel: `URL of ${name}` });
      field.addEventListener("focus", () => field.select());
      line.append(make("div", { className: "row" }, field, ...actions(url, name)));
      say(at("said"), `${name} is stored.`);
      list();
      return;
    }
    const why = request.responseText.trim() || "the connection broke off. Either the daemon does not answer, or what was to be stored can no longer be read.";
    say(state, cancelled ? "cancelled" : "not stored");
    if (!cancelled) line.append(make("p", { className: "bad", textContent: `Not stored: ${why}` }));
    say(at("said"), `${name} is ${cancelled ? "cancelled" : "not stored"}.`);
  }

  const run = () => new Promise((resolve) => {
    if (cancelled) return resolve();
    request.open("PUT", path);
    if (type) request.setRequestHeader("content-type", type);
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      say(state, `${size(event.loaded)} of ${size(event.total)}`);
      // What is sent is not yet on the disk.
      if (event.loaded === event.total) { bar.removeAttribute("value"); say(state, "writing"); }
    });
    request.addEventListener("loadend", () => { finish(); resolve(); });
    request.send(body());
  });
  queue = queue.then(run);
}

// A part of a path; half of a surrogate pair has no form in it.
const part = (name) => encodeURIComponent(name.replace(/\p{Surrogate}/gu, "\ufffd"));

// A folder is sent as a tar archive (POSIX.1-2001: ustar, and pax headers for long names).
function tar(files) {
  const text = new TextEncoder();
  const parts = [];
  const header = (name, length, time, kind) => {
    const block = new Uint8Array(512);
    const put = (from, bytes) => block.set(bytes, from);
    const octal = (from, width, value) => put(from, text.encode(value.toString(8).padStart(width - 1, "0")));
    put(0, name.subarray(0, 100));
    octal(100, 8, kind === "5" ? 0o755 : 0o644);
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
    if (!file) {
      // A folder.
      if (name.length > 100) {
        const one = record("path", path);
        header(text.encode("pax"), one.length, 0, "x");
        parts.push(one);
        pad(one.length);
      }
      header(name, 0, 0, "5");
      continue;
    }
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

function storeFiles(files) {
  for (const file of files) upload(file.name, kindOf(file.type), `/${part(file.name)}`, file.size, () => file, file.type);
}

// Stores a folder: what is in it, with paths that begin below it.
function storeFolder(name, inside) {
  const length = inside.reduce((total, { file }) => total + (file?.size ?? 0), 0);
  upload(name, "folder", `/${part(name)}?directory`, length, () => tar(inside), "application/x-tar");
}

// All that is below a folder that was dropped.
async function walk(folder, path = "") {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const one of some) {
      const here = path + one.name;
      if (one.isFile) found.push({ path: here, file: await new Promise((resolve, reject) => one.file(resolve, reject)) });
      else found.push({ path: here }, ...await walk(one, `${here}/`));
    }
  }
}

async function dropped(transfer) {
  // These are to be asked for before anything is waited for.
  const text = transfer.getData("text/plain");
  const items = [...transfer.items].filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  if (items.length === 0 && text) {
    at("url").value = text.trim();
    return openTyped();
  }
  for (const { entry, file } of items) {
    if (entry?.isDirectory) {
      say(at("said"), `Reading the folder ${entry.name}.`);
      try {
        storeFolder(entry.name, await walk(entry));
      } catch {
        at("uploads").append(make("li", { className: "bad", textContent: `${entry.name} cannot be read.` }));
      }
    } else if (file) storeFiles([file]);
  }
}

function storing() {
  const drop = at("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    dropped(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => storeFiles([...event.clipboardData.files]));
  at("choose-files").addEventListener("click", () => at("files").click());
  at("choose-folder").addEventListener("click", () => at("folder").click());
  at("files").addEventListener("change", (event) => {
    storeFiles([...event.target.files]);
    event.target.value = "";
  });
  at("folder").addEventListener("change", (event) => {
    const files = [...event.target.files];
    const name = files[0]?.webkitRelativePath.split("/")[0];
    // A browser may take a backslash in a name for a slash; the file's own name is right.
    const inside = ({ webkitRelativePath: path, name: own }) => path.slice(name.length + 1, path.length - own.length) + own;
    if (name) storeFolder(name, files.map((file) => ({ path: inside(file), file })));
    event.target.value = "";
  });
  addEventListener("beforeunload", (event) => { if (underWay > 0) event.preventDefault(); });
}

// ---- looking at things

// Longest text that is shown in place, and how much is read to see whether something is text.
const LONGEST_TEXT = 1 << 20;
const SAMPLE = 1 << 12;
const NAMELESS = "Without a name";
// What the list or a directory said of a URL.
const seen = new Map();

function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// What a URL says of itself; null when it is none.
function parse(text) {
  const url = text.trim().replace(/^https?:\/\/[^/]+\/(offsystem\/|off:)/, "off:").replace(/\/+$/, "");
  const parts = url.split("/");
  if (!url.startsWith("off:v4/") || parts.length < 5 || !/^\d+$/.test(parts[3])) return null;
  const names = parts.slice(5).map(unescaped);
  const inside = names.length > 1;
  const type = `${parts[1]}/${parts[2]}`.replaceAll("%23", "#");
  return {
    url, inside, names, parts, name: names.at(-1) || NAMELESS, type: inside ? null : type,
    length: inside || type === DIRECTORY ? null : Number(parts[3]),
    // Of a directory without a name, the path ends in a slash for it.
    path: `/${url}${type === DIRECTORY && names.length === 0 ? "/" : ""}`,
  };
}

// What is inside a directory does not say what it is: who knows it is asked.
async function learn(item) {
  if (!item.inside) return item;
  if (seen.has(item.url)) return { ...item, ...seen.get(item.url) };
  const answer = await fetched(item.path, { method: "HEAD" }).catch(async (error) => {
    // An answer to HEAD does not say why.
    await fetched(item.path, { headers: { range: "bytes=0-0" } });
    throw error;
  });
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/")) return { ...item, type: DIRECTORY };
  return { ...item, type: answer.headers.get("content-type").split(";")[0], length: Number(answer.headers.get("content-length")) };
}

// The beginning of a file as text; null when it is none.
async function readText(item, most, strict) {
  if (item.length === 0) return "";
  const answer = await fetched(item.path, { headers: { range: `bytes=0-${most - 1}` } });
  let bytes;
  try {
    bytes = await answer.arrayBuffer();
  } catch {
    throw new Error("It broke off: a part of it is damaged or cannot be found.");
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: strict }).decode(bytes, { stream: true });
    return strict && text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

// What is shown of a file.
async function contentOf(item, body) {
  const kind = kindOf(item.type);
  if (item.length === 0) return [make("p", { className: "quiet", textContent: "This file is empty." })];
  if (["image", "audio", "video"].includes(kind)) {
    const shown = make(kind === "image" ? "img" : kind, kind === "image" ? { alt: item.name } : { controls: true, ariaLabel: item.name });
    shown.addEventListener("error", async () => {
      const other = await textOf({ ...item, type: "application/octet-stream" }).catch((error) => [trouble(error)]);
      if (body.contains(shown)) body.replaceChildren(...other);
    });
    shown.src = item.path;
    return [shown];
  }
  return textOf(item);
}

async function textOf(item) {
  const certain = kindOf(item.type) === "text" || await readText(item, SAMPLE, item.type !== "application/pdf") !== null;
  const text = certain && item.type !== "application/pdf" ? await readText(item, LONGEST_TEXT, false) : null;
  if (text === null) return [make("p", { className: "quiet", textContent: "This kind of file is not shown here. Open it in a tab of its own, or save it." })];
  const shown = [make("pre", { textContent: text, tabIndex: 0, role: "region", ariaLabel: `Content of ${item.name}` })];
  if (item.length > LONGEST_TEXT) shown.push(make("p", { className: "quiet", textContent: `Only the first ${size(LONGEST_TEXT)} of ${size(item.length)} are shown.` }));
  return shown;
}

const trouble = (error) => make("p", { className: "bad", textContent: `It cannot be read: ${error.message}` });

function rowsOf(directory) {
  const folder = (entry) => entry.kind === "directory";
  const order = new Intl.Collator(undefined, { numeric: true });
  const entries = [...directory.entries].sort((a, b) => folder(b) - folder(a) || order.compare(a.name, b.name));
  return entries.map((entry) => {
    const type = folder(entry) ? DIRECTORY : entry.type;
    // A link may lead to a directory.
    if (entry.kind !== "link") seen.set(entry.url, { type, length: entry.length });
    return make("tr", {}, make("td", {}, opens(entry.url, entry.name + (folder(entry) ? "/" : ""), kindOf(type))),
      make("td", { className: "number", textContent: size(entry.length) }),
      make("td", { className: "rather", textContent: entry.time > 0 ? when(entry.time) : "" }));
  });
}

function directoryOf(directory) {
  if (directory.entries.length === 0) return [make("p", { className: "quiet", textContent: "This folder is empty." })];
  const head = [["Name", ""], ["Size", "number"], ["Changed", "rather"]].map(([title, className]) => make("th", { scope: "col", textContent: title, className }));
  const shown = [make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rowsOf(directory)))];
  if (!directory.complete) shown.push(make("p", { className: "quiet", textContent: `Only the first ${number(directory.entries.length)} entries are shown.` }));
  return shown;
}

// Which view is the last one that was asked for.
let views = 0;

// Shows what the address of this page names after its hash sign.
async function view() {
  const address = location.hash.slice(1);
  const mine = views += 1;
  let item = parse(address);
  if (!item) {
    if (!at("view").hidden) closeView();
    if (address) say(at("open-error"), "That is not an OFF URL of version 4.");
    return;
  }
  say(at("open-error"), "");
  at("view").hidden = false;
  document.title = `${item.name} – OFFS`;
  say(at("view-title"), item.name);
  say(at("view-facts"), "");
  at("crumbs").replaceChildren(...item.names.slice(0, -1).flatMap((name, depth) => [
    make("a", { href: `#${item.parts.slice(0, 6 + depth).join("/").replace(/\/$/, "")}`, textContent: name || NAMELESS }), " / "]));
  at("view-actions").replaceChildren();
  const body = at("view-body");
  body.replaceChildren(make("p", { className: "quiet", textContent: "Reading…" }));
  at("view-title").focus({ preventScroll: true });
  at("view").scrollIntoView();
  let shown;
  try {
    item = await learn(item);
    if (mine !== views) return;
    const folder = item.type === DIRECTORY;
    at("view-actions").replaceChildren(...[
      make("a", { className: "button", href: folder ? `${item.path}/` : item.path, target: "_blank", rel: "noopener", textContent: folder ? "Open as a site" : "Open in a tab" }),
      folder ? null : make("a", { className: "button", href: `${item.path}?download`, textContent: "Save" }),
      ...actions(item.url, item.name),
    ].filter(Boolean));
    say(at("view-facts"), [inWords(item.type), size(item.length)].filter(Boolean).join(" · "));
    if (folder) {
      const directory = await ask(`/api/directory?url=${encodeURIComponent(item.url)}`);
      if (mine !== views) return;
      say(at("view-facts"), `Folder · ${count(directory.entries.length, "entry", "entries")}`);
      shown = directoryOf(directory);
    } else shown = await contentOf(item, body);
  } catch (error) {
    shown = [trouble(error)];
  }
  if (mine !== views) return;
  body.replaceChildren(...shown);
  // Before this there was perhaps not enough on the page to scroll so far.
  at("view").scrollIntoView();
  const { scrollY: here } = window;
  body.querySelector("img")?.addEventListener("load", () => { if (scrollY === here) at("view").scrollIntoView(); });
}

function closeView() {
  views += 1;
  const root = parse(location.hash.slice(1))?.parts.slice(0, 6).join("/");
  if (location.hash) history.pushState(null, "", location.pathname);
  at("view").hidden = true;
  at("view-body").replaceChildren();
  document.title = "OFFS";
  const from = [...at("list").querySelectorAll("a")].find((link) => link.hash.slice(1) === root);
  (from ?? at("url")).focus();
}

function openTyped() {
  const item = parse(at("url").value);
  say(at("open-error"), item ? "" : "That is not an OFF URL of version 4. Such a URL begins with off:v4/ and is long.");
  if (!item) return at("url").focus();
  if (location.hash.slice(1) === item.url) view();
  else location.hash = item.url;
}

function opening() {
  at("open").addEventListener("submit", (event) => { event.preventDefault(); openTyped(); });
  at("view-close").addEventListener("click", closeView);
  at("view").addEventListener("keydown", (event) => { if (event.key === "Escape") closeView(); });
  at("qr-image").addEventListener("error", () => {
    at("qr-image").hidden = true;
    say(at("qr-error"), "No QR code could be made: the URL is too long for one, or the daemon does not answer.");
  });
  addEventListener("hashchange", view);
  view();
}

// ---- the list

// Most lines that are shown at once.
const LINES = 500;
let known = null;
let knownText = "";

function askUnpin(item, name) {
  const dialog = at("unpin");
  say(at("unpin-title"), `Unpin ${name}?`);
  say(at("unpin-text"), "Its blocks stay for now, but may be dropped when room is needed. On the command line, offs pin keeps them again.");
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "unpin") return;
    try {
      await fetched("/api/unpin", { method: "POST", body: item.url });
      say(at("said"), `${name} is unpinned.`);
    } catch (error) {
      say(at("list-note"), `${name} is not unpinned: ${error.message}`);
      return;
    }
    await list();
  };
  dialog.showModal();
}

function row(item) {
  const name = item.name ?? NAMELESS;
  const doing = make("div", { className: "row" }, ...actions(item.url, name));
  if (item.pinned) {
    const unpin = make("button", { type: "button", textContent: "Unpin", ariaLabel: `Unpin ${name}` });
    unpin.addEventListener("click", () => askUnpin(item, name));
    doing.append(unpin);
  } else doing.append(make("span", { className: "quiet", textContent: "not pinned" }));
  const folder = item.type === DIRECTORY;
  const cell = (className, ...children) => make("td", { role: "cell", className }, ...children);
  return make("tr", { role: "row" }, cell("", opens(item.url, name, kindOf(item.type))), cell("quiet", inWords(item.type)),
    cell("number quiet", folder ? "" : size(item.length)), cell("quiet", when(item.time)), cell("", doing));
}

function showList() {
  const wanted = at("filter").value.trim().toLowerCase();
  const found = known.filter((item) => `${item.name ?? ""} ${item.type} ${inWords(item.type)} ${item.url}`.toLowerCase().includes(wanted));
  // Whatever had the focus has it again.
  const table = at("list");
  const label = (element) => element.ariaLabel ?? element.hash;
  const focused = table.contains(document.activeElement) ? label(document.activeElement) : null;
  const place = [...table.rows].findIndex((line) => line.contains(document.activeElement));
  table.replaceChildren(...found.slice(0, LINES).map(row));
  if (focused !== null) {
    const same = [...table.querySelectorAll("a, button")].find((element) => label(element) === focused);
    (same ?? table.rows[place]?.querySelector("a") ?? at("filter")).focus();
  }
  at("list-table").hidden = found.length === 0;
  say(at("list-count"), known.length > 0 ? number(known.length) : "");
  let note = "";
  if (known.length === 0) note = "Nothing is stored yet. What you drop on this page is listed here with its URL.";
  else if (found.length === 0) note = "No known URL matches the filter.";
  else if (found.length > LINES) note = `The newest ${number(LINES)} of ${number(found.length)} are shown; the filter finds the others.`;
  else if (wanted) note = `${number(found.length)} of ${number(known.length)} are shown.`;
  say(at("list-note"), note);
}

async function list() {
  try {
    const text = await (await fetched("/api/urls")).text();
    if (text === knownText) return;
    [known, knownText] = [JSON.parse(text), text];
    showList();
  } catch (error) {
    knownText = "";
    say(at("list-note"), error.message);
  }
}

// ---- status

const POINTS = 90;
const EVERY = 2000;
// So many looks at the status to one at the list.
const LIST_EVERY = 5;
const charts = new Map();

function chart(title, value, text) {
  let one = charts.get(title);
  if (!one) {
    const [area, line] = [draw("path", { class: "area" }), draw("path", { class: "line" })];
    const svg = draw("svg", { viewBox: `0 0 ${POINTS - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
    const shown = make("strong");
    at("charts").append(make("figure", {}, make("figcaption", {}, make("span", { textContent: title }), shown), svg));
    one = { area, line, shown, values: [] };
    charts.set(title, one);
  }
  one.values.push(value);
  if (one.values.length > POINTS) one.values.shift();
  const most = Math.max(1, ...one.values);
  const begin = POINTS - one.values.length;
  const points = one.values.map((each, index) => `${begin + index} ${(38 - 35 * each / most).toFixed(2)}`).join("L");
  one.line.setAttribute("d", one.values.length > 1 ? `M${points}` : "");
  one.area.setAttribute("d", `M${begin} 40L${points}L${POINTS - 1} 40Z`);
  say(one.shown, text);
}

// Shows facts; those that are there already are only changed.
function facts(list, pairs) {
  for (const [key, value, bad] of pairs) {
    let shown = [...list.children].find((child) => child.dataset.key === key);
    if (!shown) {
      shown = make("dd");
      shown.dataset.key = key;
      list.append(make("dt", { textContent: key }), shown);
    }
    say(shown, String(value));
    shown.classList.toggle("bad", Boolean(bad));
  }
}

// Shows lines, each with a mark that says whether all is well; nothing is touched when nothing changed.
function lines(list, found, empty) {
  const text = JSON.stringify(found);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...found.map(([good, name, more, title]) => make("li", { className: good ? "good" : "poor", title: title ?? "" },
    make("span", { className: "mark", ariaHidden: "true" }), make("span", {}, make("b", { textContent: name }), more ? ` ${more}` : ""))));
  if (found.length === 0) list.replaceChildren(make("li", { className: "quiet", textContent: empty }));
}

let before = null;

function rate(now, key) {
  return before ? Math.max(0, now.figures[key] - before.figures[key]) / ((now.time - before.time) / 1000) : 0;
}

function aboutPeer(peer) {
  const state = peer.reachable ? "reachable" : "not reachable";
  const heard = peer.heard === null ? "never heard" : `heard ${ago(peer.heard)}`;
  const traffic = `in ${size(peer.received + peer.pushed)}, out ${size(peer.given)}`;
  const known = [peer.addresses[0], peer.full ? "full" : null, peer.trouble].filter(Boolean).join(", ");
  return [peer.reachable && !peer.trouble, peer.peer.slice(0, 10), `${state}, ${peer.reachable ? "" : `${heard}, `}${traffic}${known ? `, ${known}` : ""}`, peer.peer];
}

function showStatus(status) {
  const sum = (key) => status.peers.reduce((total, peer) => total + (peer[key] ?? 0), 0);
  const now = { time: performance.now(), figures: { came: sum("pushed") + sum("received"), went: sum("given") } };
  chart("From peers", rate(now, "came"), `${size(rate(now, "came"))}/s`);
  chart("To peers", rate(now, "went"), `${size(rate(now, "went"))}/s`);
  chart("Endangered", status.endangered, number(status.endangered));
  chart("Store", status.bytes, size(status.bytes));
  before = now;
  const pool = status.pool ? `Pool ${status.pool.name}: ${status.live} of ${count(status.pool.members, "member", "members")} live` : "No pool: everything stays on this machine";
  const down = Object.values(status.services).filter((health) => !health.running).length;
  say(at("summary"), down > 0 ? `${pool} · ${count(down, "service is", "services are")} down` : pool);
  at("summary").classList.toggle("bad", down > 0);
  const all = status.bytes + status.free;
  const used = all > 0 ? 100 * status.bytes / all : 0;
  at("room").setAttribute("aria-valuenow", used.toFixed(1));
  at("room").setAttribute("aria-valuetext", `${used.toFixed(1)} % used`);
  at("room").firstChild.style.width = `${used}%`;
  say(at("room-text"), `${size(status.bytes)} used, ${size(status.free)} left`);
  facts(at("store"), [
    ["Here", number(status.blocks)],
    ["Needed by pins", number(status.pinned_blocks)],
    ["Endangered", number(status.endangered), status.endangered > 0],
    ["Copies counted", status.looked_seconds_ago === null ? "not yet" : ago(status.looked_seconds_ago)],
    ["To be repaired", number(status.repairs_waiting), status.repairs_with_one_copy > 0],
    ["To be pushed", number(status.pushes_waiting)],
    ["Damaged", number(status.quarantined), status.quarantined > 0],
    ["Missing packs", number(status.missing_packs), status.missing_packs > 0],
    ["Last audit", status.last_audit ?? "none yet"],
    ["This peer", status.peer],
  ]);
  lines(at("services"), Object.entries(status.services).map(([name, health]) => [health.running, name,
    (health.running ? "runs" : "is down") + (health.restarts ? `, restarted ${count(health.restarts, "time", "times")}` : ""), health.last]), "none");
  lines(at("peers"), status.peers.map(aboutPeer), status.pool ? "No other peer is known yet. Invite one with offs pool invite." : "None. A pool is begun with offs pool create, or joined with offs pool join.");
}

async function watch(turn) {
  try {
    const status = await ask("/api/status");
    if (!status?.peers) throw new Error("The daemon cannot say how it is.");
    showStatus(status);
    at("status").classList.remove("stale");
    if (turn % LIST_EVERY === 0) await list();
  } catch (error) {
    before = null;
    say(at("summary"), error.message);
    at("summary").classList.add("bad");
    at("status").classList.add("stale");
  }
  setTimeout(watch, document.hidden ? 5 * EVERY : EVERY, turn + 1);
}

storing();
opening();
at("filter").addEventListener("input", () => { if (known) showList(); });
watch(0);
