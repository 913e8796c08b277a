"""The page for people in a real browser: a person's ways through it, each checked.

OFFS names the program, CHROMIUM the browser (default: the one in PATH). `--screenshots DIR` makes pictures of the page
instead. Prints a line for each check, and ends with 1 when one failed, or when it is not done after OFFS_LIMIT seconds
(default: 90, which a busy machine may need more of).
"""

import argparse
import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import wave

import zxingcpp
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import expect, sync_playwright

LIMIT = int(os.environ.get("OFFS_LIMIT", "90"))
# How long, in milliseconds, a single thing may take.
PATIENCE = 15000
OFFS = os.environ.get("OFFS", "offs")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SERIOUS = ("serious", "critical")
# Nothing but this machine has a name or an address for the browser.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

TEXT = "Käse, tea and 🍞\n<b>not bold</b>\n"
ODD = {
    "with some spaces.txt": "spaces",
    "Übergröße – größer.txt": "umlauts",
    "🎈 balloon.txt": "emoji",
    "quote\"s and 'others' & <tags>.txt": "quotes",
    "percent %41 #hash ?query.txt": "signs",
    "back\\slash+plus.txt": "slashes",
    "long " + "n" * 190 + ".txt": "long",
    "long/" + "ö" * 70 + "/" + "d" * 120 + "/deep down.txt": "deep",
}
# What a stored page tries; each must fail.
SCRIPT = """
const tries = {
  list: () => fetch("/api/urls").then((answer) => answer.text()),
  status: () => fetch("/api/status").then((answer) => answer.text()),
  unpin: () => fetch("/api/unpin", {method: "POST", body: UNPIN}).then((answer) => answer.text()),
  blind: () => fetch("/api/unpin", {method: "POST", mode: "no-cors", body: UNPIN}).then(() => { throw "not seen"; }),
  put: () => fetch("/x", {method: "PUT", body: "x"}).then((answer) => answer.text()),
  post: () => fetch("/x", {method: "POST", mode: "no-cors", body: "x"}).then(() => { throw "not seen"; }),
  opener: () => window.opener.document.title,
  storage: () => localStorage.length,
  cookie: () => document.cookie,
};
(async () => {
  const said = {};
  for (const [name, go] of Object.entries(tries)) {
    try { said[name] = "GOT " + await go(); } catch (error) { said[name] = "refused"; }
  }
  document.getElementById("said").textContent = JSON.stringify(said);
})();
"""


class Daemon:
    """`offs serve` with a home of its own."""

    def __init__(self, top, name):
        self.home = top / name
        self.log = open(top / f"{name}.log", "w+")
        command = [OFFS, "--home", str(self.home), "serve", "--no-lan", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + 20
        while True:
            text = pathlib.Path(self.log.name).read_text()
            found = re.search(r"offs: (http://[0-9.:]+)/", text)
            if found:
                self.address = found[1]
                return
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the daemon does not start:\n{text}")
            time.sleep(0.05)

    def offs(self, *arguments):
        done = subprocess.run([OFFS, "--home", str(self.home), *arguments], capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"offs {arguments[0]}: {done.stderr}")
        return done.stdout.strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()


def until(page, condition, seconds=15):
    """Waits until something holds in a page. The page's own policy forbids it to do that by itself."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise AssertionError(f"it never holds that {condition}")
        time.sleep(0.05)


class Checks:
    """What was shown and what failed."""

    def __init__(self):
        self.done = self.failed = 0
        self.begun = time.monotonic()

    @contextlib.contextmanager
    def check(self, name):
        try:
            yield
        except Exception as error:
            self.failed += 1
            where = traceback.extract_tb(error.__traceback__)
            lines = [str(each.lineno) for each in where if each.filename == __file__]
            print(f"not ok {name} (line {', '.join(lines)})\n    " + str(error).strip().replace("\n", "\n    "), flush=True)
        else:
            self.done += 1
            print(f"ok {name}", flush=True)


def picture(width, height, colours):
    """A picture with something to see."""
    image = Image.new("RGB", (width, height), colours[0])
    draw = ImageDraw.Draw(image)
    for step in range(12):
        left, top = step * width // 12, height - (step * 7 % 5 + 2) * height // 9
        draw.rectangle((left, top, left + width // 14, height), fill=colours[1 + step % (len(colours) - 1)])
    draw.ellipse((width * 0.7, height * 0.1, width * 0.85, height * 0.1 + width * 0.15), fill=colours[-1])
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def sound():
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(bytes((128 + (at * 9 % 50)) for at in range(8000)))
    return data.getvalue()


def film(browser):
    """A short film, which the browser makes itself."""
    page = browser.new_page()
    made = page.evaluate("""async () => {
        const canvas = document.createElement("canvas");
        canvas.width = 160; canvas.height = 90;
        const pen = canvas.getContext("2d"), chunks = [];
        const recorder = new MediaRecorder(canvas.captureStream(25), {mimeType: "video/webm"});
        recorder.ondataavailable = (event) => chunks.push(event.data);
        const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
        recorder.start();
        for (let at = 0; at < 20; at += 1) {
            pen.fillStyle = `hsl(${at * 18} 60% 50%)`; pen.fillRect(0, 0, 160, 90);
            await new Promise((resolve) => setTimeout(resolve, 40));
        }
        recorder.stop();
        await stopped;
        return [...new Uint8Array(await new Blob(chunks).arrayBuffer())];
    }""")
    page.close()
    return bytes(made)


def document():
    """A small PDF."""
    page = b"BT /F1 24 Tf 20 100 Td (A page) Tj ET"
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
               b"<</Length %d>>stream\n%s\nendstream" % (len(page), page), b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    return b"%PDF-1.4\n%\xff\xff\n" + b"".join(b"%d 0 obj%sendobj\n" % (1 + at, one) for at, one in enumerate(objects)) + \
        b"trailer<</Root 1 0 R>>\n%%EOF\n"


def write(top, files):
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return top


class Person:
    """Somebody in front of the page."""

    def __init__(self, checks, browser, daemon, top, shots):
        self.checks, self.check = checks, checks.check
        self.browser, self.daemon, self.top, self.shots = browser, daemon, top, shots
        self.requests, self.wrong, self.faults = [], [], []
        self.axe = Axe()
        self.looked = 0
        self.page = self.visit(DESKTOP, permissions=["clipboard-read", "clipboard-write"])
        self.context = self.page.context

    def visit(self, viewport, script=None, **settings):
        """The page in a context of its own."""
        context = self.browser.new_context(viewport=viewport, locale="en-GB", **settings)
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: self.requests.append(request.url))
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("console", lambda said: self.wrong.append(f"{said.type}: {said.text} {said.location}") if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.goto(self.daemon.address)
        return page

    def look(self, state, page=None):
        """Has the state of the page checked for accessibility, in light and in dark."""
        page = page or self.page
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            # Another scheme only has other colours.
            rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
            found = self.axe.run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
            self.looked += 1
            for each in found:
                line = f"{state}, {scheme}: {each['impact']}: {each['id']}: {each['nodes'][0]['html'][:160]}"
                if each["impact"] in SERIOUS:
                    self.faults.append(line)
                else:
                    print(f"# {line}")
        page.emulate_media(color_scheme="light")

    def shot(self, name, page=None, scheme="light"):
        if not self.shots:
            return
        page = page or self.page
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        data = page.screenshot()
        small = Image.open(io.BytesIO(data)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        self.shots.mkdir(parents=True, exist_ok=True)
        small.save(self.shots / f"{name}.png", optimize=True)
        page.emulate_media(color_scheme="light")

    def known(self):
        """What the daemon says it knows, by name."""
        answer = self.context.request.get(f"{self.daemon.address}/api/urls").json()
        return {item["name"]: item for item in answer}

    def line(self, name, page=None):
        return (page or self.page).locator("#list tr").filter(has=(page or self.page).get_by_role("link", name=name, exact=True))

    def stored(self, name, page=None):
        """Waits until an upload is done, and gives its URL."""
        field = (page or self.page).get_by_label(f"URL of {name}", exact=True).and_((page or self.page).locator("#uploads input"))
        expect(field).to_be_visible(timeout=2 * PATIENCE)
        return field.input_value()

    def open(self, name, page=None):
        page = page or self.page
        page.locator("#list").get_by_role("link", name=name, exact=True).click()
        expect(page.locator("#view-title")).to_have_text(name)
        return page.locator("#view-body")

    # ---- what is checked

    def empty(self):
        with self.check("an empty store says so, and has no URL to show"):
            expect(self.page.locator("#list-note")).to_contain_text("Nothing is stored yet")
            expect(self.page.locator("#list-table")).to_be_hidden()
            expect(self.page.locator("#summary")).not_to_be_empty()
            self.look("empty")

    def drops(self):
        with self.check("a dropped file is stored; its URL is shown and opens"):
            self.page.evaluate("""([name, text]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([text], name, {type: "text/plain"}));
                const send = (kind) => document.getElementById("drop").dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
                send("dragenter"); window.lit = document.querySelector("#drop.over") !== null; send("dragover"); send("drop");
            }""", ["shopping list.txt", TEXT])
            assert self.page.evaluate("window.lit"), "the drop zone does not light up"
            url = self.stored("shopping list.txt")
            assert url.startswith("off:v4/text/plain/"), url
            got = self.context.request.get(f"{self.daemon.address}/{url}").text()
            assert got == TEXT, got
            expect(self.line("shopping list.txt")).to_be_visible()
        with self.check("a folder dropped as a person does it is stored with its empty folders"):
            folder = write(self.top / "dropped", {"a.txt": "a", "sub/b.txt": "b"})
            (folder / "nothing in it").mkdir()
            session = self.context.new_cdp_session(self.page)
            box = self.page.locator("#drop").bounding_box()
            data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
            for kind in ("dragEnter", "dragOver", "drop"):
                session.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data})
            self.stored("dropped")
            body = self.open("dropped")
            expect(body.get_by_role("link", name="nothing in it/")).to_be_visible()
            body.get_by_role("link", name="nothing in it/").click()
            expect(body).to_contain_text("This folder is empty")

    def chooses(self, files):
        with self.check("chosen files are stored one after the other, with their progress"):
            self.page.evaluate("""() => {
                window.progress = [];
                new MutationObserver(() => {
                    const bar = document.querySelector("#uploads progress");
                    if (bar) window.progress.push([bar.hasAttribute("value") ? bar.value : null, bar.closest("li").innerText]);
                }).observe(document.getElementById("uploads"), {childList: true, subtree: true, attributes: true, characterData: true});
            }""")
            with self.page.expect_file_chooser() as chooser:
                self.page.get_by_role("button", name="Choose files").click()
            chooser.value.set_files([str(path) for path in files])
            for path in files:
                self.stored(path.name)
            seen = self.page.evaluate("window.progress")
            values = {value for value, _ in seen}
            assert any(value and 0 < value < 1 for value in values) and None in values, f"no progress seen: {values}"
            assert any(re.search(r"[\d.]+ MiB of 96.0 MiB", text) for _, text in seen), "no amounts seen"
            assert any("waiting" in text for _, text in seen), "what waits is not shown"
        with self.check("an upload can be cancelled, and its line dismissed"):
            # The daemon never sees it.
            self.page.route("**/cancelled.bin", lambda route: None)
            self.page.locator("#files").set_input_files(str(write(self.top, {"cancelled.bin": "x"}) / "cancelled.bin"))
            line = self.page.locator("#uploads li").filter(has_text="cancelled.bin")
            line.get_by_role("button", name="Cancel").click()
            expect(line).to_contain_text("cancelled")
            line.get_by_role("button", name="Dismiss").click()
            expect(line).to_have_count(0)
            self.page.unroute_all(behavior="ignoreErrors")
            assert "cancelled.bin" not in self.known()

    def copies(self):
        with self.check("the URL is copied, and the button says so"):
            button = self.page.locator("#uploads").get_by_role("button", name="Copy URL of shopping list.txt")
            button.click()
            expect(button).to_have_text("Copied")
            url = self.known()["shopping list.txt"]["url"]
            copied = self.page.evaluate("navigator.clipboard.readText()")
            assert copied == url, copied
            expect(button).to_have_text("Copy URL")
        with self.check("without a clipboard the URL is selected instead"):
            page = self.visit(DESKTOP, script="Object.defineProperty(navigator, 'clipboard', {value: undefined})")
            page.get_by_role("button", name="Copy URL of shopping list.txt").click()
            chosen = page.evaluate("document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)")
            assert chosen == self.known()["shopping list.txt"]["url"], chosen
            page.keyboard.press("Escape")
            expect(page.get_by_role("button", name="Copy URL of shopping list.txt")).to_be_focused()
            page.context.close()

    def opens(self):
        page = self.page
        with self.check("text is shown in place, as text"):
            body = self.open("shopping list.txt")
            expect(body.locator("pre")).to_have_text(TEXT.strip())
            self.look("text")
        with self.check("a picture is shown in place"):
            body = self.open("harbour.png")
            until(page, "document.querySelector('#view-body img')?.naturalWidth === 640")
            self.look("picture")
        with self.check("a drawing is shown in place and does not run"):
            body = self.open("drawing.svg")
            until(page, "document.querySelector('#view-body img')?.naturalWidth > 0")
            assert page.evaluate("window.ran === undefined")
        with self.check("sound and film are shown in place and can be played"):
            self.open("tone.wav")
            until(page, "document.querySelector('#view-body audio')?.duration > 0.9")
            self.open("film.webm")
            until(page, "document.querySelector('#view-body video')?.videoWidth === 160")
            page.evaluate("document.querySelector('#view-body video').play()")
            until(page, "document.querySelector('#view-body video').currentTime > 0")
            self.look("video")
        with self.check("a file without an ending is shown when it is text, else not"):
            expect(self.open("README").locator("pre")).to_have_text("read me")
            expect(self.open("noise.bin")).to_contain_text("not shown here")
            expect(self.open("empty.txt")).to_contain_text("empty")
        with self.check("what is not what its name says is shown as what it is"):
            # A browser takes .ts for a film.
            expect(self.open("program.ts").locator("pre")).to_have_text("let film: boolean = false;")
            expect(self.open("broken.png")).to_contain_text("not shown here")
        with self.check("a long text is shown up to a limit"):
            body = self.open("long.txt")
            expect(body).to_contain_text("Only the first 1.0 MiB of 2.0 MiB are shown")
        with self.check("a PDF is opened in a tab of its own, or saved"):
            expect(self.open("paper.pdf")).to_contain_text("tab of its own")
            with page.expect_download() as download:
                page.get_by_role("link", name="Save").click()
            assert download.value.suggested_filename == "paper.pdf"
            assert pathlib.Path(download.value.path()).read_bytes() == document()
            link = page.get_by_role("link", name="Open in a tab")
            assert link.get_attribute("target") == "_blank" and "noopener" in link.get_attribute("rel")
            answer = self.context.request.get(self.daemon.address + link.get_attribute("href"))
            assert answer.headers["content-type"] == "application/pdf" and answer.headers["content-disposition"].startswith("inline")
        with self.check("a typed URL opens, in each of its forms; what is none is said"):
            url = self.known()["shopping list.txt"]["url"]
            for form in (url, f"  {url}/ ", url.replace("off:", "http://elsewhere.example/offsystem/"), f"{self.daemon.address}/{url}"):
                page.locator("#url").fill(form)
                page.get_by_role("button", name="Open", exact=True).click()
                expect(page.locator("#view-body pre")).to_have_text(TEXT.strip())
                page.get_by_role("button", name="Close").first.click()
                expect(page.locator("#view")).to_be_hidden()
            page.locator("#url").fill("http://example.com/%zz")
            page.keyboard.press("Enter")
            expect(page.locator("#open-error")).to_contain_text("not an OFF URL")
            self.look("not a URL")
            self.wrong.clear()
            page.locator("#url").fill(url.replace("text/plain/", "text/plain/9"))
            page.keyboard.press("Enter")
            expect(page.locator("#view-body .bad")).to_contain_text("cannot be read")
            # The browser itself notes that the answer was an error.
            self.wrong[:] = [line for line in self.wrong if "Failed to load resource" not in line]
            page.locator("#url").fill("")

    def browses(self):
        page = self.page
        with self.check("a chosen folder with odd names is stored and browsed"):
            folder = write(self.top / "odd öne 'n 🎁", ODD)
            with page.expect_file_chooser() as chooser:
                page.get_by_role("button", name="Choose a folder").click()
            chooser.value.set_files(str(folder))
            url = self.stored(folder.name)
            body = self.open(folder.name)
            for name, content in ODD.items():
                *above, last = name.split("/")
                for each in above:
                    body.get_by_role("link", name=f"{each}/", exact=True).click()
                    expect(page.locator("#view-title")).to_have_text(each)
                body.get_by_role("link", name=last, exact=True).click()
                expect(page.locator("#view-title")).to_have_text(last)
                expect(body.locator("pre")).to_have_text(content)
                page.locator("#crumbs a").first.click()
                expect(page.locator("#view-title")).to_have_text(folder.name)
            back = self.top / "back"
            self.daemon.offs("get", url, "-o", str(back))
            for name, content in ODD.items():
                assert (back / name).read_text() == content, name
            self.look("folder")
        with self.check("back and forward go through what was looked at; a bookmark opens again"):
            body = page.locator("#view-body")
            body.get_by_role("link", name="🎈 balloon.txt").click()
            expect(body.locator("pre")).to_have_text("emoji")
            address = page.url
            page.go_back()
            expect(page.locator("#view-title")).to_have_text(folder.name)
            page.go_forward()
            expect(body.locator("pre")).to_have_text("emoji")
            again = self.visit(DESKTOP)
            again.goto(address)
            again.reload()
            expect(again.locator("#view-body pre")).to_have_text("emoji")
            expect(again).to_have_title(re.compile("balloon"))
            again.goto(address.replace("%F0%9F%8E%88%20balloon.txt", "long"))
            expect(again.locator("#view-body").get_by_role("link")).to_have_count(1)
            again.context.close()

    def site(self):
        with self.check("a folder opens as a site, with its style and its picture"):
            unpin = self.known()["shopping list.txt"]["url"]
            folder = write(self.top / "my site", {
                "index.html": '<!doctype html><title>Site</title><link rel="stylesheet" href="style/main.css"><h1>Hello</h1>'
                              '<img src="pictures/one.png"><p id="said"></p><script src="script.js"></script>'
                              f'<form method="post" action="/api/unpin" enctype="text/plain" target="form"><input name="{unpin}" value=""></form>'
                              '<iframe name="form" src="/"></iframe>',
                "style/main.css": "h1 { color: rgb(1, 2, 3); }",
                "pictures/one.png": picture(40, 40, ["navy", "red"]),
                "script.js": SCRIPT.replace("UNPIN", repr(unpin)),
                "plain/a.txt": "a", "plain/ü.txt": "b" * 5000,
            })
            self.page.locator("#folder").set_input_files(str(folder))
            self.stored("my site")
            self.open("my site")
            with self.context.expect_page() as opened:
                self.page.get_by_role("link", name="Open as a site").click()
            site = opened.value
            expect(site).to_have_title("Site")
            expect(site.locator("h1")).to_have_css("color", "rgb(1, 2, 3)")
            until(site, "document.querySelector('img').naturalWidth === 40")
        with self.check("a stored page can neither read what is known here nor change anything"):
            expect(site.locator("#said")).not_to_be_empty()
            said = site.locator("#said").inner_text()
            assert "GOT" not in said and said.count("refused") == 9, said
            site.evaluate("document.forms[0].submit()")
            site.wait_for_timeout(300)
            assert self.known()["shopping list.txt"]["pinned"] and "x" not in self.known()
            assert site.evaluate("self.origin") == "null"
            site.close()
        with self.check("a folder without a page of its own is listed"):
            path = self.known()["my site"]["path"]
            plain = self.visit(DESKTOP)
            plain.goto(f"{self.daemon.address}{path}/plain")
            expect(plain.get_by_role("link", name="ü.txt")).to_be_visible()
            self.look("listing", plain)
            plain.set_viewport_size(PHONE)
            self.narrow(plain)
            plain.get_by_role("link", name="ü.txt").click()
            expect(plain.locator("body")).to_contain_text("bbbb")
            plain.context.close()

    def lists(self):
        page = self.page
        with self.check("the filter leaves what matches"):
            page.get_by_label("Filter").fill("HARBOUR")
            expect(page.locator("#list tr")).to_have_count(1)
            page.get_by_label("Filter").fill("nothing like it")
            expect(page.locator("#list-note")).to_contain_text("No known URL matches")
            page.get_by_label("Filter").fill("")
            expect(page.locator("#list tr")).to_have_count(len(self.known()))
        with self.check("unpinning asks first"):
            button = page.get_by_role("button", name="Unpin noise.bin")
            button.click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("Unpin noise.bin?")
            self.look("unpin")
            page.keyboard.press("Escape")
            expect(dialog).to_have_count(0)
            assert self.known()["noise.bin"]["pinned"]
            button.click()
            dialog.get_by_role("button", name="Keep it").click()
            assert self.known()["noise.bin"]["pinned"]
            button.click()
            dialog.get_by_role("button", name="Unpin").click()
            expect(self.line("noise.bin")).to_contain_text("not pinned")
            assert not self.known()["noise.bin"]["pinned"]
        with self.check("the QR code says the URL"):
            for name in ("shopping list.txt", "odd öne 'n 🎁"):
                page.locator("#list").get_by_role("button", name=f"QR code of the URL of {name}", exact=True).click()
                image = page.locator("#qr-image")
                until(page, "document.getElementById('qr-image').complete && document.getElementById('qr-image').naturalWidth > 0")
                read = zxingcpp.read_barcodes(Image.open(io.BytesIO(image.screenshot())))
                url = self.known()[name]["url"]
                assert [code.text for code in read] == [url], [code.text for code in read]
                self.look("QR code")
                page.get_by_role("dialog").get_by_role("button", name="Close").click()
                expect(page.get_by_role("dialog")).to_have_count(0)

    def status(self):
        page = self.page
        with self.check("services, peers, capacity and blocks are shown"):
            for service in ("http", "links"):
                expect(page.locator("#services")).to_contain_text(f"{service} runs")
            expect(page.locator("#peers li")).to_have_count(1)
            expect(page.locator("#peers")).to_contain_text("reachable")
            expect(page.locator("#room-text")).to_contain_text("left")
            expect(page.locator("#charts figure")).to_have_count(4)
            expect(page.locator("#summary")).to_contain_text("2 of 2 members live")
        with self.check("status and list follow what happens elsewhere"):
            line = page.locator("#charts figure").filter(has_text="Store").locator(".line")
            before = (line.get_attribute("d"), page.locator("#room-text").inner_text())
            self.daemon.offs("put", str(write(self.top, {"from the command line.bin": os.urandom(3 << 20)}) / "from the command line.bin"))
            page.wait_for_function("""([line, room]) => document.querySelector("#room-text").textContent !== room
                && [...document.querySelectorAll("#charts .line")].at(-1).getAttribute("d") !== line""", arg=before)
            expect(self.line("from the command line.bin")).to_be_visible(timeout=2 * PATIENCE)

    def keyboard(self):
        with self.check("everything is done by keyboard, and the focus is seen"):
            page = self.visit(DESKTOP)
            expect(page.locator("#list tr").first).to_be_visible()
            where = """() => {
                const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
                return {name: element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent.trim(), seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
                    && box.width > 0 && box.top >= 0 && box.bottom <= innerHeight, tag: element.tagName};
            }"""

            def tab_to(name, most=80):
                for _ in range(most):
                    page.keyboard.press("Tab")
                    at = page.evaluate(where)
                    assert at["seen"] or at["tag"] == "BODY", f"the focus is not seen: {at}"
                    if at["name"] == name:
                        return
                raise AssertionError(f"{name} is not reached by Tab")

            tab_to("Choose files")
            with page.expect_file_chooser() as chooser:
                # The browser has to know that the chooser is ours before the key arrives.
                page.evaluate("0")
                page.keyboard.press("Enter")
            chooser.value.set_files(str(write(self.top, {"typed.txt": "by keyboard"}) / "typed.txt"))
            self.stored("typed.txt", page)
            # What is in the clipboard is stored by pasting it.
            page.evaluate("""() => {
                const transfer = new DataTransfer();
                transfer.items.add(new File(["pasted"], "pasted.txt", {type: "text/plain"}));
                document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
            }""")
            self.stored("pasted.txt", page)
            tab_to("Choose a folder")
            with page.expect_file_chooser():
                page.evaluate("0")
                page.keyboard.press("Space")
            tab_to("Copy URL of typed.txt")
            tab_to("Open a URL")
            tab_to("Filter")
            page.keyboard.type("my site")
            tab_to("my site")
            page.keyboard.press("Enter")
            expect(page.locator("#view-title")).to_be_focused()
            tab_to("Close")
            tab_to("Open as a site")
            tab_to("pictures/")
            page.keyboard.press("Enter")
            expect(page.locator("#view-title")).to_have_text("pictures")
            expect(page.locator("#view-title")).to_be_focused()
            tab_to("one.png")
            page.keyboard.press("Enter")
            until(page, "document.querySelector('#view-body img')?.naturalWidth === 40")
            page.keyboard.press("Escape")
            expect(page.locator("#view")).to_be_hidden()
            expect(page.locator("#list").get_by_role("link", name="my site")).to_be_focused()
            tab_to("QR code of the URL of my site")
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(page.get_by_role("button", name="QR code of the URL of my site")).to_be_focused()
            tab_to("Unpin my site")
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Keep it")).to_be_focused()
            tab_to("Unpin")
            page.keyboard.press("Enter")
            expect(self.line("my site", page)).to_contain_text("not pinned")
            assert page.evaluate("document.activeElement !== document.body"), "the focus got lost"
            page.context.close()

    def narrow(self, page):
        wide = page.evaluate("""() => document.documentElement.scrollWidth <= innerWidth ? [] : [document.documentElement.scrollWidth,
            ...[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))]""")
        assert not wide, f"the page scrolls sideways: {wide[:4]}"

    def phone(self):
        with self.check("on a phone nothing scrolls sideways"):
            page = self.visit(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
            expect(page.locator("#list tr").first).to_be_visible()
            self.narrow(page)
            self.look("phone", page)
            page.locator("#files").set_input_files(str(write(self.top, {"w" * 180 + ".txt": "wide"}) / ("w" * 180 + ".txt")))
            self.stored("w" * 180 + ".txt", page)
            self.narrow(page)
            for name in ("harbour.png", "program.ts", "film.webm", "odd öne 'n 🎁"):
                body = self.open(name, page)
                expect(body.locator("img, pre, video, table").first).to_be_visible()
                self.narrow(page)
            self.look("phone, folder", page)
            page.locator("#list").get_by_role("button", name="QR code of the URL of harbour.png").tap()
            expect(page.locator("#qr-image")).to_be_visible()
            self.narrow(page)
            page.context.close()

    def schemes(self):
        with self.check("light and dark follow what the browser asks for"):
            brightness = []
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                colour = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
                brightness.append(sum(int(part) for part in re.findall(r"\d+", colour)[:3]))
            self.page.emulate_media(color_scheme="light")
            assert brightness[0] > 600 and brightness[1] < 150, brightness

    def refused(self):
        with self.check("a refusal is said in words"):
            page = self.visit(DESKTOP)
            page.route("**/no%20room.txt", lambda route: route.fulfill(status=507, body="the disk is full\n"))
            page.locator("#files").set_input_files({"name": "no room.txt", "mimeType": "text/plain", "buffer": b"x"})
            expect(page.locator("#uploads")).to_contain_text("Not stored: the disk is full")
            self.look("refused", page)
            page.context.close()
            self.wrong[:] = [line for line in self.wrong if "507" not in line]

    def end(self):
        with self.check(f"nothing was asked of anybody but the daemon ({len(self.requests)} requests)"):
            # What is dropped and chosen has no address; `data:` and `blob:` lead nowhere.
            away = {url for url in self.requests if not url.startswith((self.daemon.address + "/", "data:", "blob:"))}
            assert self.requests and not away, away
        with self.check("no errors on the console"):
            assert not self.wrong, "\n".join(self.wrong)
        with self.check("a daemon that went away is missed, and said so"):
            self.daemon.stop()
            expect(self.page.locator("#summary")).to_contain_text("does not answer")
            self.look("gone")
        with self.check(f"no serious accessibility fault in {self.looked} looks"):
            assert self.looked and not self.faults, "\n".join(dict.fromkeys(self.faults))


def album(top):
    """What a person might store."""
    colours = [["#274690", "#576ca8", "#f5f3f5", "#e7c66b"], ["#264653", "#2a9d8f", "#e9c46a", "#e76f51"],
               ["#582f0e", "#936639", "#c2c5aa", "#ffe8a3"]]
    return write(top / "Holiday in Łódź", {
        "01 harbour.png": picture(1200, 700, colours[0]), "02 market.png": picture(1200, 700, colours[1]),
        "03 evening.png": picture(1200, 700, colours[2]), "notes.md": "# Notes\n\nThe boat leaves at nine.\n",
        "sounds/bell.wav": sound(), "index.txt": "pictures and sounds\n",
    })


def screenshots(person, top):
    """Pictures of the page with what a person might have stored."""
    page = person.visit(DESKTOP)
    for file, content in {"minutes 2026-03.txt": TEXT * 9, "thesis, final (3).pdf": document() + os.urandom(700000),
                          "bell.wav": sound(), "boat.webm": person.film, "backup of the notebook.tar.zst": os.urandom(9 << 20)}.items():
        page.locator("#files").set_input_files(str(write(top / "shown", {file: content}) / file))
        person.stored(file, page)
    page.reload()
    page.locator("#folder").set_input_files(str(album(top)))
    person.stored("Holiday in Łódź", page)
    page.locator("#files").set_input_files(str(write(top / "shown", {"lake.png": picture(1200, 700, ["#1d3557", "#457b9d", "#a8dadc", "#f1faee"])}) / "lake.png"))
    person.stored("lake.png", page)
    page.wait_for_timeout(9000)
    page.evaluate("scrollTo(0, 0)")
    person.shot("desktop-light", page)
    for button in page.get_by_role("button", name="Dismiss").all()[::-1]:
        button.click()
    person.open("Holiday in Łódź", page)
    page.get_by_role("link", name="sounds/").wait_for()
    person.shot("folder", page)
    page.get_by_role("link", name="03 evening.png").click()
    until(page, "document.querySelector('#view-body img')?.naturalWidth === 1200")
    person.shot("picture-dark", page, "dark")
    page.context.close()
    page = person.visit(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    expect(page.locator("#list tr").first).to_be_visible()
    page.wait_for_timeout(5000)
    page.evaluate("document.querySelector('#list-title').scrollIntoView()")
    person.shot("phone-list", page)
    page.evaluate("document.querySelector('#status').scrollIntoView()")
    person.shot("phone-status", page, "dark")
    page.context.close()


def pooled(daemon, other):
    """Makes a pool of two daemons."""
    port = daemon.offs("status", "--json")
    port = re.search(r'"port": ?(\d+)', port)[1]
    daemon.offs("pool", "create", "household")
    other.offs("pool", "join", daemon.offs("pool", "invite", "--address", f"127.0.0.1:{port}"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--screenshots", type=pathlib.Path)
    shots = arguments.parse_args().screenshots
    if not shots:
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not done after {LIMIT} s"))
        signal.alarm(LIMIT)
    expect.set_options(timeout=PATIENCE)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="offs-page-") as made, contextlib.ExitStack() as stack:
        top = pathlib.Path(made)
        daemon, peer = Daemon(top, "home"), Daemon(top, "peer")
        stack.callback(peer.stop)
        stack.callback(daemon.stop)
        pooled(daemon, peer)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=[ALONE, *(["--no-sandbox"] if os.getuid() == 0 else [])])
        stack.callback(browser.close)
        person = Person(checks, browser, daemon, top, shots)
        person.film = film(browser)
        if shots:
            screenshots(person, top)
            return 0
        files = write(top / "files", {
            "harbour.png": picture(640, 360, ["#274690", "#576ca8", "#f5f3f5"]), "tone.wav": sound(), "film.webm": person.film,
            "paper.pdf": document(), "noise.bin": os.urandom(1 << 20) * 96, "README": "read me", "empty.txt": "",
            "program.ts": "let film: boolean = false;", "broken.png": b"\x89PNG\0broken", "long.txt": ("a long line \n" * (2 << 20))[:2 << 20],
            "drawing.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><circle r="30" cx="40" cy="30"/>'
                           '<script>parent.ran = true; fetch("http://elsewhere.example/")</script></svg>',
        })
        person.empty()
        person.drops()
        person.chooses(sorted(files.iterdir()))
        for part in (person.copies, person.opens, person.browses, person.site, person.lists, person.status, person.keyboard,
                     person.phone, person.schemes, person.refused, person.end):
            part()
    took = time.monotonic() - checks.begun
    print(f"{checks.done} of {checks.done + checks.failed} checks passed in {took:.0f} s: {person.looked} states looked at for "
          f"accessibility, {len(person.requests)} requests, all of them to the daemon" if not checks.failed else
          f"{checks.failed} of {checks.done + checks.failed} checks failed in {took:.0f} s")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
