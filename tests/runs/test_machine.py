"""What is read of the machine."""

import sys
from pathlib import Path

from compass.runs.machine import cpu_flags


def test_cpu_flags(tmp_path: Path) -> None:
    """Breaks if the kernel's list is misread; a system without such a file has no flags."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2\nbugs\t: x\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "sse2", "avx2"}
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert "bf16" in cpu_flags(tmp_path / "arm")
    assert cpu_flags(tmp_path / "none") == frozenset()
    if sys.platform == "linux":
        assert cpu_flags() or not Path("/proc/cpuinfo").exists()
