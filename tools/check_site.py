"""Finds pages of the built site that are wider than a screen: `python -m tools.check_site` after `make docs`.

Chromium opens every page in a frame as wide as a desktop and as a phone. What scrolls in a box of its own is fine.
"""

import functools
import html
import http.server
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SITE = Path(__file__).parent.parent / "docs" / "_build" / "html"
WIDTHS = (1280, 390)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-extensions")
SCRIPT = """
async function check(pages, widths) {
  const found = [];
  for (const page of pages) for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.width = width; frame.height = 900; frame.src = page;
    const loaded = new Promise((done) => { frame.onload = done; });
    document.body.append(frame);
    await loaded;
    const view = frame.contentDocument.documentElement;
    const wide = (e) => e.getBoundingClientRect().right > width + 1;
    const scrolls = (e) => { for (; e; e = e.parentElement)
      if (/auto|scroll|hidden/.test(frame.contentWindow.getComputedStyle(e).overflowX)) return true; return false; };
    const all = [...view.querySelectorAll(".bd-article *")].filter((e) => wide(e) && !scrolls(e.parentElement));
    const pictures = [...view.querySelectorAll(".bd-article img")].filter((e) => e.complete && !e.naturalWidth);
    if (view.scrollWidth > width + 1 || all.length || pictures.length)
      found.push({page, width, wider: view.scrollWidth - width, missing: pictures.map((e) => e.src),
        elements: all.slice(0, 3).map((e) => e.outerHTML.slice(0, 120))});
    frame.remove();
  }
  const report = document.createElement("pre");
  report.id = "report"; report.textContent = JSON.stringify(found);
  document.body.append(report);
}
"""


def measure(site: Path) -> list[dict]:
    pages = [str(path.relative_to(site)) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    check = f"<body><script>{SCRIPT} check({json.dumps(pages)}, {json.dumps(WIDTHS)})</script>".encode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/check":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(check)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["chromium", *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=600000", "--dump-dom"]
        url = f"http://127.0.0.1:{server.server_port}/check"
        dom = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    server.shutdown()
    return json.loads(html.unescape(dom.partition('<pre id="report">')[2].partition("</pre>")[0]))


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]) if len(sys.argv) > 1 else SITE)
    for page in found:
        print(json.dumps(page, indent=1))
    sys.exit(bool(found))
