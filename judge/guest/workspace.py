"""Runs one Python command in a folder of files: `python FILE …` or `python -m MODULE …`, in the sandboxed child.

No other program is started: there is nothing to execute in the sandbox. The folder can be written to where it is a file
system of the sandbox's own, whose size is bounded; otherwise its files can only be read.
"""

import os
import sys

from alpharay.judge.guest import candidate

# Where the folder holds what is not the tests': modules that are shown to its programs, and temporary files.
OURS, TOOLS, TEMPORARY = ".alpharay", ".alpharay/tools", ".alpharay/tmp"


def run(folder: str, argv: list[str]) -> int:
    """argv: without `python`. Returns the exit code."""
    os.chdir(folder)
    os.umask(0)  # what it makes may be replaced by files that come later, from the server
    os.environ.update(HOME=folder, PYTEST_ADDOPTS=_prepared(folder))
    sys.path[0] = folder
    if os.access(f"{folder}/{TOOLS}", os.R_OK):
        sys.path.append(f"{folder}/{TOOLS}")
    import runpy  # here: loaded into the server it would make every other run dearer

    sys.argv = list(argv)
    os.write(candidate.REPORT, candidate.READY)
    os.close(candidate.REPORT)
    try:
        if argv[0] == "-m":
            sys.argv = argv[1:]
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(f"{folder}/{argv[0]}")  # noqa: PTH120 - pathlib costs each child its import
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as error:
        return candidate.finish(candidate.exit_code(error))
    except BaseException as error:
        candidate.print_error(error, keep=2)
        return candidate.finish(1)
    return candidate.finish(0)


def _prepared(folder: str) -> str:
    """Options for pytest, by whether files can be made here."""
    try:
        os.mkdir(f"{folder}/{TEMPORARY}")  # noqa: PTH102
    except FileExistsError:
        pass
    except OSError:
        return "-p no:cacheprovider --capture=sys"
    os.environ["TMPDIR"] = f"{folder}/{TEMPORARY}"
    return "-p no:cacheprovider"
