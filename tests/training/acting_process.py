"""What the parent of training processes meets: a process that acts as the name of its network says."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def _say(head, content=b""):
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


def main():
    job = json.loads(sys.stdin.buffer.readline())
    is_first, (name,) = job["rank"] == 0, job["networks"]
    act, said = name.split("_")[-2], Path(job["meeting"], "said")
    error = {"name": name, "kind": "UserError", "traceback": ""}
    if act == "dies" and not is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "stops" and is_first:  # it notices that the other one died before anybody else does
        _say({**error, "kind": "", "at": 0.0, "error": "gloo: connection closed by peer"})
    elif act == "stops":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "dies":
        time.sleep(600)  # it waits for the other
    elif act == "fails" and not is_first:
        _say({**error, "at": 1.0, "error": "the cause"})
        said.touch()
    elif act == "fails":
        while not said.exists():
            time.sleep(0.01)
        _say({**error, "at": 2.0, "error": "the consequence"})
    elif is_first:
        header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        content = len(header).to_bytes(8, "little") + header + bytes(4)
        _say({"name": name, "at": 1.0, "n_bytes": len(content), "meta": {}, "journal": {}}, content)


if __name__ == "__main__":
    main()
