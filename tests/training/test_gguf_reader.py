"""One reading of a GGUF file for all who ask, with the values of gguf's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compass.training.gguf_reader import read_once

gguf = pytest.importorskip("gguf")


def written(path: Path) -> Path:
    """Write a file with a vocabulary and a tensor."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_token_list(["<pad>", "golau", "灯"])
    writer.add_token_scores([0.0, -1.5, -2.0])
    writer.add_tensor("token_embd.weight", np.arange(6, dtype=np.float32).reshape(3, 2))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_is_read_once_and_as_by_gguf_itself(tmp_path: Path) -> None:
    """The weights, names and scores of the packaged model would be others, or take a minute longer again."""
    file, other = written(tmp_path / "a.gguf"), written(tmp_path / "b.gguf")
    theirs = gguf.GGUFReader
    expected = theirs(file)
    with read_once(file):
        first, second = gguf.GGUFReader(str(file)), gguf.GGUFReader(file)
        assert type(gguf.GGUFReader(str(other))) is theirs
    assert first is second
    assert type(first.data) is np.ndarray
    for name, field in expected.fields.items():
        assert first.fields[name].contents() == field.contents()
    assert first.tensors[0].data.tolist() == expected.tensors[0].data.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert gguf.GGUFReader is theirs


def test_an_error_leaves_gguf_as_it_was(tmp_path: Path) -> None:
    theirs = gguf.GGUFReader
    with pytest.raises(OSError, match="full"), read_once(written(tmp_path / "a.gguf")):
        raise OSError("full")
    assert gguf.GGUFReader is theirs
