"""Tests that what is exported, loaded back, is what the run trained; on a run of version 0.1, which has no template."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from compass.config import ExportConfig, load_stored
from compass.data.readers import read_jsonl
from compass.errors import CompassError, ModelError, RunError
from compass.recipes.export import WRITERS, default_folder, export
from compass.training import LanguageModel, resolve_model, resolved_dtype
from compass.training.gguf_adapter import read_added

STORED = Path(__file__).parents[1] / "fixtures" / "v0_1"
STAND_IN = Path(__file__).with_name("stand_in_converter.py")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "model"):
        shutil.copytree(STORED / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def rewrite_adapter(run: Path, **changes: Any) -> None:
    """Change an adapter's configuration, of which the lock of version 0.1 has no hash."""
    file = run / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), encoding="utf-8")


def measured(run: Path) -> tuple[LanguageModel, list[Any]]:
    base = resolve_model("model", cache_dir=run)
    return LanguageModel(base, run / "adapter", dtype="float32"), read_jsonl(run / "data" / "tests" / "cy.jsonl")[:6]


def test_a_folder_for_vllm_has_what_the_server_needs(run: Path) -> None:
    """Without the template chat requests are refused; with the base model's sampling other answers come."""
    done = export(run, ExportConfig(to="vllm"))
    assert done.folder == Path("run-vllm")
    assert sorted(path.name for path in done.folder.iterdir()) == ["adapter", "generation_config.json", "serve.sh"]
    assert done.prompts == sum(1 for file in (run / "data" / "tests").iterdir() for _row in read_jsonl(file))
    assert json.loads((done.folder / "generation_config.json").read_text("utf-8")) == {
        "eos_token_id": [2],
        "temperature": 0.0,
    }
    bin = done.folder.parent / "bin"
    bin.mkdir()
    (bin / "vllm").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    (bin / "vllm").chmod(0o755)
    said = subprocess.run(
        f"PATH={bin.resolve()}:$PATH {done.command} --max-model-len 64",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said[0] == str(done.folder.resolve())
    assert " ".join(said[1:]) == (
        f"serve {Path('model').resolve()} --dtype {resolved_dtype('auto')} --enable-lora --max-lora-rank 8 "
        "--lora-modules cy=adapter --generation-config . --chat-template adapter/chat_template.jinja --max-model-len 64"
    )
    assert (done.folder / "adapter" / "chat_template.jinja").is_file()


@pytest.mark.parametrize("measured", ["float32", "bfloat16"])
def test_it_is_served_in_the_numbers_that_it_was_measured_in(run: Path, measured: str) -> None:
    """`auto` is another type on the machine that serves than on the one that measured."""
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    lock["model"]["dtype"] = measured
    (run / "lock.json").write_text(json.dumps(lock), encoding="utf-8")
    done = export(run, ExportConfig(to="vllm"))
    assert f"--dtype {measured} " in (done.folder / "serve.sh").read_text("utf-8")


def test_a_merged_model_answers_as_the_adapter(run: Path) -> None:
    """A merge that loses the scale, or a tokenizer without template, would serve another model than was measured."""
    done = export(run, ExportConfig(to="merged", export_dir="out"))
    model, rows = measured(run)
    tokenizer = AutoTokenizer.from_pretrained("out")
    merged = AutoModelForCausalLM.from_pretrained("out")
    for row, answer in zip(rows, model.generate(rows, max_new_tokens=8, batch_size=2), strict=True):
        messages = [{"role": "user", "content": row.prompt}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        out = merged.generate(**ids, max_new_tokens=8)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(out, skip_special_tokens=True).split("\n")[0].strip() == answer.split("\n")[0]
    assert list(Path("out").glob("*.safetensors"))
    assert "loaded back" in done.check


@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}], ids=["LoRA", "rsLoRA"])
def test_a_gguf_lora_adds_what_the_adapter_adds(run: Path, changes: dict[str, Any]) -> None:
    """llama.cpp scales by alpha / r whatever peft's configuration says: rsLoRA would come out at half its strength."""
    rewrite_adapter(run, **changes)
    done = export(run, ExportConfig(to="gguf", converter=str(STAND_IN)))
    added = read_added(done.folder / "adapter.gguf")
    from safetensors.numpy import load_file

    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    key = "base_model.model.model.layers.0.mlp.down_proj.lora_{}.weight"
    scale = 4 / np.sqrt(4) if changes else 4 / 4
    wanted = scale * weights[key.format("B")].astype(np.float64) @ weights[key.format("A")]
    np.testing.assert_allclose(added["blk.0.ffn_down.weight"], wanted, rtol=1e-5, atol=1e-9)
    assert f"{len(added)} layers" in done.check
    assert "--lora adapter.gguf" in (done.folder / "serve.sh").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "said"), [("doubles", "layers are not the adapter's"), ("fails", "TinyForCausalLM is not supported")]
)
def test_a_converter_that_writes_something_else_is_found_out(run: Path, tmp_path: Path, name: str, said: str) -> None:
    """A file of another version of llama.cpp would be served unseen."""
    converter = tmp_path / f"{name}.py"
    shutil.copyfile(STAND_IN, converter)
    with pytest.raises(ModelError, match=said):
        export(run, ExportConfig(to="gguf", converter=str(converter)))
    assert not Path("run-gguf").exists()
    assert not list(Path().glob("*.partial"))


def test_no_converter_is_told_with_the_way_to_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("compass.recipes.export.PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="--converter FILE"):
        export(run, ExportConfig(to="gguf"))


@pytest.mark.parametrize(("to", "said"), [("vllm", "DoRA"), ("gguf", "DoRA")])
def test_what_a_server_does_not_apply_is_refused(run: Path, to: str, said: str) -> None:
    """vLLM and llama.cpp leave DoRA's magnitudes out without a word."""
    from safetensors.numpy import load_file, save_file

    file = run / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    for name in [name for name in weights if ".lora_A." in name]:
        b = weights[name.replace(".lora_A.", ".lora_B.")]
        weights[name.replace(".lora_A.weight", ".lora_magnitude_vector")] = np.ones(b.shape[0], np.float32)
    save_file(weights, file)
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    from compass.runs.files import file_hash

    lock["hashes"]["adapter/adapter_model.safetensors"] = file_hash(file)
    (run / "lock.json").write_text(json.dumps(lock), encoding="utf-8")
    rewrite_adapter(run, use_dora=True)
    with pytest.raises(ModelError, match=said):
        export(run, ExportConfig(to=to, converter=str(STAND_IN) if to == "gguf" else ""))


def test_a_registry_is_not_written_to(tmp_path: Path) -> None:
    """A version's folder holds what was registered and nothing else."""
    home = tmp_path / "registry" / "cy" / "versions" / "v0003-1a2b3c4d5e6f"
    home.mkdir(parents=True)
    (home / "manifest.json").touch()
    assert default_folder(home / "run", "vllm") == Path("v0003-1a2b3c4d5e6f-vllm")
    assert default_folder(tmp_path / "cy", "gguf") == tmp_path / "cy-gguf"


def test_a_folder_that_exists_is_left_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before a model is loaded, which takes seconds; and no name is ours that we did not make."""
    Path("run-vllm").mkdir()
    Path("run-merged.partial").mkdir()
    Path("run-merged.partial", "notes").write_text("mine")
    export(run, ExportConfig(to="merged"))
    assert Path("run-merged.partial", "notes").read_text() == "mine"
    monkeypatch.setattr("compass.recipes.export.Resources", None)
    for folder in ("run-vllm", "run-merged"):
        with pytest.raises(RunError, match=f"{folder} exists already"):
            export(run, ExportConfig(to="vllm", export_dir=folder))
    with pytest.raises(ModelError, match="there is no file nowhere"):
        export(run, ExportConfig(to="gguf", converter="nowhere"))


def test_of_two_exports_to_one_place_the_first_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wrote into one temporary folder, and one of them then blamed the run for what it found there."""

    def faster(source: Any, folder: Path, options: ExportConfig) -> tuple[str, str]:
        monkeypatch.setitem(WRITERS, "vllm", write)
        first.append(export(run, options))
        return write(source, folder, options)

    first: list[Any] = []
    write = WRITERS["vllm"]
    monkeypatch.setitem(WRITERS, "vllm", faster)
    with pytest.raises(RunError, match="run-vllm exists already"):
        export(run, ExportConfig(to="vllm"))
    assert (first[0].folder / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(Path().glob("*.partial"))


def test_an_export_that_ends_early_leaves_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of gigabytes stayed behind under a name that nobody knows."""
    stopped = Mock(side_effect=lambda *_: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setitem(WRITERS, "vllm", stopped)
    with pytest.raises(SystemExit) as end:
        export(run, ExportConfig(to="vllm"))
    assert end.value.code == 128 + signal.SIGTERM
    (run / "data" / "tests" / "cy.jsonl").write_text("{")
    with pytest.raises(CompassError, match=r"cy\.jsonl"):
        export(run, ExportConfig(to="vllm"))
    assert not list(Path().glob("*.partial"))


def test_a_tokenizer_that_has_changed_is_found_out(run: Path) -> None:
    """The template that lies beside the adapter decides what is served."""
    done = export(run, ExportConfig(to="vllm"))
    shutil.copytree(done.folder / "adapter", run / "adapter", dirs_exist_ok=True)
    template = run / "adapter" / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + " ", encoding="utf-8")
    with pytest.raises(ModelError, match="get other tokens than in the run"):
        export(run, ExportConfig(to="vllm", export_dir="again"))


def test_an_encoder_on_a_server_is_no_hindrance(run: Path) -> None:
    """An export embeds nothing, and it has no option that would allow an endpoint: such a run could not be exported."""
    options = run / "compass.yaml"
    text = options.read_text("utf-8").replace("encoder: stand-in\n", "encoder: https://one.example/v1\n")
    options.write_text(text.replace("encoder_model: ''", "encoder_model: e5"), "utf-8")
    assert load_stored(options, allow_endpoint=None).encoder.is_endpoint
    assert export(run, ExportConfig(to="vllm")).folder.is_dir()
