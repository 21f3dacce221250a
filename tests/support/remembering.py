"""A writer that is killed in the middle, for what roost remembers: run as a script, never imported.

remembering.py FILE: writes without end, and says on stdout which number it has just handed over.
"""

import sys
import threading
from pathlib import Path

from roost.host.database import Database, Decision
from roost.host.database_read import Usage

memory = Database(Path(sys.argv[1]), journal_bytes=1 << 20, journal_age_s=1e6)
memory.open()
pause = threading.Event()
number = 0
while True:
    number += 1
    here = Decision(b'{"setup": %d}' % (number // 50), b'{"plan": %d}' % number, b"%d" % number * 500)
    memory.keep("n", {"k": number, f"k{number % 100}": [number] * 50})
    memory.use({"a": Usage(requests=number, since=1e9)})
    memory.record(lambda here=here: here)  # type: ignore[misc]
    print(number, flush=True)
    pause.wait(0.005)
