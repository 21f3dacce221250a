"""For all tests: a Ctrl-C disposition of our own.

A shell that runs the suite in the background leaves SIGINT ignored, and children inherit that: a test that presses
Ctrl-C on one would wait in vain.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
