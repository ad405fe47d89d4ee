"""A model's name leads to a path, to a folder of the user's models, or to the hub; in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.roberta.names import HUB_IDS, resolve
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
