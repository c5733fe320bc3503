"""lua5.4 with the module, for tests of both it and the host."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
LOOPHOST = os.path.abspath(os.environ.get("LOOPHOST", os.path.join(BUILD, "loophost")))


def command():
    """What runs lua5.4: a module built with the address sanitizer needs that loaded first."""
    libraries = subprocess.run(["ldd", BUILD + "/loophost.so"], capture_output=True, check=True, text=True).stdout
    for line in libraries.splitlines():
        if "libasan" in line:
            return ["env", "LD_PRELOAD=" + line.split()[2], "lua5.4"]
    return ["lua5.4"]


STOCK = command()
