#!/usr/bin/env python3
"""What applications on ext4 take for granted, each tried on a mounted volume.

features.py FOLDER PHASE [CHECK...], as root.  FOLDER is the mount's root.  Phases: live (all that
is fast), slow (a million of things), relatime, strictatime, noatime, nodiratime (mounted so), again
(after an unmount and a new mount, what live left).
Prints each failure and ends with "N passed, N failed"; exit 1 if any failed.
"""

import os
import shutil
import sys
import traceback

from checks import contents, harness, locks, names, rights, system, times  # noqa: F401


def main():
    phase = sys.argv[2]
    passed = failed = 0
    for phases, fn in harness.checks:
        if phase not in phases or (len(sys.argv) > 3 and fn.__name__ not in sys.argv[3:]):
            continue
        folder = f"{harness.ROOT}/{phase}-{fn.__name__}"
        os.mkdir(folder)
        os.chdir(folder)
        pid = os.fork()
        if pid == 0:
            try:
                fn()
            except BaseException:
                print(f"FAILED {fn.__name__} ({phase})", flush=True)
                traceback.print_exc(limit=4)
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            passed += 1
        else:
            failed += 1
        os.chdir("/")
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
