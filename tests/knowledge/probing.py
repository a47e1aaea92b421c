"""A child of whichever account runs this, and what it was refused: one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from neurant.knowledge.reader import limits_for, run_child
from neurant.knowledge.reader_probe import probe


def main() -> None:
    how, given = sys.argv[1], json.loads(sys.argv[2])
    if how == "confined":
        header = json.dumps(given).encode() + b"\n"
        told = json.loads(asyncio.run(run_child("probe", limits_for(0), header)).output)
    else:
        child = os.fork()  # an ordinary child: what it is refused, the account may never do
        if child:
            os.waitpid(child, 0)
            return
        told = probe(**given)
    print(json.dumps(told), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
