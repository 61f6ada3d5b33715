"""The JDK: its compiler, called by a small program of the judge's that makes a jar file, and its virtual machine."""

import re
import shutil
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.toolchains.tools import (
    MEMORY,
    PROGRAM,
    STACK,
    Runtime,
    Tool,
    Toolchain,
    files_below,
    system_files,
    with_targets,
)

OLDEST = 11
HOW_TO_GET_IT = "install it with: apt-get install openjdk-17-jdk-headless"
COMPILER = "Compile.java"
HOME_FOLDERS = ("lib", "conf")
# Neither needed by programs nor by the compiler: sources, what windows and debuggers need.
LEFT_OUT = re.compile(
    r"src\.zip|lib(?:awt|fontmanager|jawt|jdwp|jsound|lcms|mlib|saproc|splashscreen|attach|j2).*"
)
# One garbage collector without threads of its own; no files in /tmp; the archive of loaded classes where there is one.
# The machine's cores are not counted, since each would bring compiler threads.
VM = (
    *(
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        "-XX:-UsePerfData",
        "-XX:-UseContainerSupport",
        "-XX:ActiveProcessorCount=2",
    ),
    *(
        "-Xlog:disable",
        "-XX:+DisableAttachMechanism",
        "-XX:ErrorFile=/dev/null",
        "-XX:-CreateCoredumpOnCrash",
    ),
    # Address space that is reserved and seldom used.
    *("-XX:CompressedClassSpaceSize=64m", "-XX:ReservedCodeCacheSize=64m"),
    *("-Dfile.encoding=UTF-8", "-Djava.awt.headless=true", "-Duser.language=en"),
)
RUN = (*VM, f"-Xmx{MEMORY}m", "-Xms16m", f"-Xss{STACK}m", "-DONLINE_JUDGE=true", "-jar", PROGRAM)
# It compiles for a second, in which the second compiler would only cost.
COMPILE = (*VM, "-XX:TieredStopAtLevel=1", "-Xmx768m", "-Xss16m", COMPILER)
ENVIRONMENT = ("LC_ALL=C.UTF-8",)


def find() -> Toolchain:
    """Starts nothing. Raises LanguageUnavailable, with the way out."""
    javac = shutil.which("javac")
    if javac is None:
        raise LanguageUnavailable(f"Java needs a JDK, and javac is not installed; {HOW_TO_GET_IT}")
    home = Path(javac).resolve().parent.parent
    java, machine, release = home / "bin" / "java", home / "lib" / "server" / "libjvm.so", home / "release"
    if not (java.is_file() and machine.is_file() and release.is_file()):
        raise LanguageUnavailable(f"Java needs a whole JDK, and {home} is none; {HOW_TO_GET_IT}")
    match = re.search(r'^JAVA_VERSION="([^"]+)"', release.read_text(), re.MULTILINE)
    version = match[1] if match else "0"
    if int(version.partition(".")[0]) < OLDEST:
        raise LanguageUnavailable(f"Java needs JDK {OLDEST} or newer, {home} is {version}; {HOW_TO_GET_IT}")
    files = [file for folder in HOME_FOLDERS for file in files_below(home / folder)]
    read = with_targets([release, *(file for file in files if not LEFT_OUT.fullmatch(file.name))])
    read |= readable.shared_libraries(java) | readable.shared_libraries(machine) | system_files()
    read.add(str(java))
    compiler = Path(__file__).with_name(COMPILER).read_bytes()
    return Toolchain(
        version=f"OpenJDK {version}",
        tools={
            "compile": Tool(path=str(java), argv=(str(java), *COMPILE), environment=ENVIRONMENT, prints=True)
        },
        read=tuple(sorted(read)),
        runtime=Runtime(
            path=str(java),
            argv=(str(java), *RUN),
            read=tuple(sorted(read)),
            environment=ENVIRONMENT,
            stack_share=8,  # one that is full takes several times its size until its error is thrown
        ),
        helpers=((COMPILER, compiler),),
        reserves=True,
    )
