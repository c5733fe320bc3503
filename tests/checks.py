"""What the programs in Python share: what a test says of a difference, and who runs the tests."""
import os
import shutil
import signal
import tempfile


def shown(value):
    return f"\n{value}\n" if isinstance(value, str) and "\n" in value else repr(value)


def equal(got, expected):
    assert got == expected, f"expected {shown(expected)}, got {shown(got)}"


def contains(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in {shown(text)}"


def count(names, where, note="", folder=None):
    """Runs the functions among the names that begin with test_, those that take it with the folder,
    or with one of their own; (passed, failed)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may come to us ignored
    passed = failed = 0
    for name, test in list(names.items()):
        if not name.startswith("test_") or os.environ.get("ONLY", "") not in name + where:
            continue
        own = tempfile.mkdtemp() if folder is None else None
        try:
            test(*[folder or own][:test.__code__.co_argcount])
            passed += 1
        except Exception as problem:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED {name}{note}: {type(problem).__name__}: {problem}", flush=True)
        finally:
            if own:
                shutil.rmtree(own)
    return passed, failed


def tell(passed, failed):
    """The last line of a program's output; its exit status."""
    print(f"{passed} passed, {failed} failed")
    return failed > 0


def main(names, where, folder=None):
    return tell(*count(names, where, folder=folder))
