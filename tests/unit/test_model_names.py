"""A model's name leads to a path, to a folder of the user's models, or to the hub; in this order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from unit import fairseq_models

from pipelines.errors import InputError
from pipelines.roberta.fairseq.importing import import_fairseq
from pipelines.roberta.names import HUB_IDS, resolve
from worker.cli.model_list import known_models
from worker.cli.model_names import classifier_source, model_source


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder, not there yet; the working folder is empty."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PENSTOCK_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


def test_known_names_are_those_of_the_hub() -> None:
    assert model_source("roberta.base") == "FacebookAI/roberta-base"
    assert model_source("roberta.large.mnli") == "FacebookAI/roberta-large-mnli"
    assert all(hub is None or hub.startswith("FacebookAI/") for hub in HUB_IDS.values())


def test_a_folder_of_the_users_models_goes_before_the_hub(models: Path) -> None:
    for name in ("roberta.base", "roberta.large.wsc", "mine"):
        (models / name).mkdir(parents=True)
        assert model_source(name) == str(models / name)


def test_a_path_goes_before_everything(models: Path) -> None:
    (models / "roberta.base").mkdir(parents=True)
    Path("roberta.base").mkdir()
    assert model_source("roberta.base") == "roberta.base"


def test_a_name_that_only_an_archive_has_says_how_to_import_it(models: Path) -> None:
    with pytest.raises(InputError, match="not on the model hub") as caught:
        model_source("roberta.large.wsc")
    assert f"penstock model import-fairseq roberta.large.wsc.tar.gz --out {models}/roberta.large.wsc" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "name",
    [
        "FacebookAI/roberta-base",
        "org/name@main",
        "./x",
        "../x",
        "/x",
        "~",
        "unknown",
        "",
        ".",
        "..",
        "x" * 5000,
        "\udcff",
    ],
)
def test_anything_else_stays_as_it_is(name: str, models: Path) -> None:
    models.mkdir()
    assert model_source(name) == name


def test_names_never_lead_out_of_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "models").mkdir()
    assert resolve("../secret", tmp_path / "models") == "../secret"


def test_classifiers_are_named_in_the_same_way(models: Path) -> None:
    (models / "mine").mkdir(parents=True)
    assert classifier_source("self") == "self"
    assert classifier_source("mine") == str(models / "mine")
    assert classifier_source("nli=roberta.large.mnli") == "nli=FacebookAI/roberta-large-mnli"
    assert classifier_source("nli=self") == "nli=self"
    assert classifier_source("a/b=c") == "a/b=c"
    assert classifier_source("nli=") == "nli="
    assert classifier_source("=x") == "=x"


def in_hub_cache(cache: Path, name: str, *files: Path) -> Path:
    """Files of a model in a cache of the hub, as its client lays them out; the snapshot's folder."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for file in files:
        shutil.copyfile(file, snapshot / file.name)
    return snapshot


def test_a_list_says_what_is_on_this_machine(
    tiny_model: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    in_hub_cache(
        tmp_path / "hub", "FacebookAI/roberta-base", tiny_model / "config.json", tiny_model / "model.safetensors"
    )
    in_hub_cache(tmp_path / "hub", "FacebookAI/roberta-large", tiny_model / "config.json")
    for name in ("roberta.large.wsc", "mine", ".mine.x"):
        (models / name).mkdir(parents=True)
    assert {row.name: (row.state, row.place) for row in known_models(models)} == {
        "roberta.base": ("cached", "FacebookAI/roberta-base"),
        "roberta.large": ("hub", "FacebookAI/roberta-large"),
        "roberta.large.mnli": ("hub", "FacebookAI/roberta-large-mnli"),
        "roberta.large.wsc": ("folder", str(models / "roberta.large.wsc")),
        "mine": ("folder", str(models / "mine")),
    }


def test_the_merges_of_the_hub_s_roberta_base_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = {"args": fairseq_models.arguments(), "model": fairseq_models.state()}
    source = fairseq_models.write(tmp_path / "source", root)
    merges = (source / "vocab.bpe").rename(tmp_path / "merges.txt")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError, match="Give it by --bpe: vocab"):
        import_fairseq(source, tmp_path / "made")
    in_hub_cache(tmp_path / "hub", "FacebookAI/roberta-base", merges)
    import_fairseq(source, tmp_path / "made")
    assert (tmp_path / "made" / "merges.txt").read_text() == fairseq_models.bpe_text()
