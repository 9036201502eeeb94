"""A contestant that computes nothing: `python fake_contestant.py JSON`.

It answers with the seconds of a script, and logs that it was started and asked.
"""

import json
import sys
from pathlib import Path

settings = json.loads(sys.argv[1])
log = Path(settings["log"])


def note(event: object) -> None:
    with log.open("a") as file:
        file.write(json.dumps([settings["contestant"], event]) + "\n")


note("start")
if settings.get("dies"):
    sys.exit(3)
print(json.dumps(settings["description"]), flush=True)
seconds = iter(settings["seconds"])
for line in sys.stdin:
    note(json.loads(line))
    answer = {"seconds": next(seconds), "peak_bytes": settings["peak_bytes"]}
    # Two cores, one of them idle for a quarter of the time.
    print(json.dumps({**answer, "core_seconds": 1.75 * answer["seconds"]}), flush=True)
