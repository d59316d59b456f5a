"""Run the release flow in this process: `python -m tests.system.drive MODEL RELEASE`."""

import sys

from flows.release import release

if __name__ == "__main__":
    for model, name in (one.split("=") for one in sys.argv[1:]):
        sys.stdout.write(f"{release(model, release_id=name)}\n")
