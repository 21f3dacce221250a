"""A child that misbehaves on command, for the process keeper: run as a script, never imported.

child.py PORT [--ignore-term] [--exit N] [--say TEXT] [--grandchild] [--no-listen]
"""

import argparse
import http.server
import os
import signal
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--exit", type=int)
parser.add_argument("--say", default="")
parser.add_argument("--grandchild", action="store_true")
parser.add_argument("--no-listen", action="store_true")
options = parser.parse_args()

if options.ignore_term:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.say:
    print(options.say, flush=True)
if options.grandchild:
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    grandchild = subprocess.Popen([sys.executable, "-c", ignoring])
    print(f"grandchild {grandchild.pid}", flush=True)
if options.exit is not None:
    sys.exit(options.exit)
if options.no_listen:
    signal.pause()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("GREETING", "").encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


http.server.HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
