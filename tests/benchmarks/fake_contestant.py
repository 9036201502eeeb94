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
for line in sys.stdin:
    # Its process may have ended between two repetitions.
    events = map(json.loads, log.read_text().splitlines())
    asked = sum(name == settings["contestant"] and event != "start" for name, event in events)
    note(json.loads(line))
    seconds = settings["seconds"]
    answer = {"seconds": seconds[asked % len(seconds)], "peak_bytes": settings["peak_bytes"]}
    # Two cores, one of them idle for a quarter of the time.
    print(json.dumps({**answer, "core_seconds": 1.75 * answer["seconds"]}), flush=True)
