"""Build llama.cpp's server, or say in one line why there is none: `python install_llamacpp.py FOLDER`.

PyPI has no server that is built; the source package of llama-cpp-python brings llama.cpp whole, its converters too. It
needs cmake and a C++ compiler, and takes some ten minutes of a processor.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "0.3.36"
SOURCE = f"llama_cpp_python-{VERSION}"
OPTIONS = ("CMAKE_BUILD_TYPE=Release", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_OPENSSL=OFF")


def main(folder: Path) -> None:
    """Build `FOLDER/llama-server` from `FOLDER/llama.cpp`, unless that was done before."""
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text("utf-8") == VERSION:
        return
    if missing := [tool for tool in ("cmake", "c++") if not shutil.which(tool)]:
        sys.exit(f"llama.cpp can't be built here: no {' and no '.join(missing)}.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--no-binary=:all:",
        "--dest", str(folder), f"llama-cpp-python=={VERSION}",
    )  # fmt: skip
    with tarfile.open(folder / f"{SOURCE}.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    (folder / SOURCE / "vendor" / "llama.cpp").rename(folder / "llama.cpp")
    shutil.rmtree(folder / SOURCE)
    (folder / f"{SOURCE}.tar.gz").unlink()
    build = folder / "build"
    run("cmake", "-S", str(folder / "llama.cpp"), "-B", str(build), *(f"-D{option}" for option in OPTIONS))
    run("cmake", "--build", str(build), "--target", "llama-server", "--parallel", "2")
    (folder / "llama-server").symlink_to(Path("build") / "bin" / "llama-server")
    stamp.write_text(VERSION, encoding="utf-8")


def run(*command: str) -> None:
    """Run a command; end with its last line if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        sys.exit(f"llama.cpp can't be built here: {Path(command[0]).name} says {''.join(last)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
