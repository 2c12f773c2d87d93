"""Models given away and taken: as a folder, and by way of a local stand-in of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import hub_stand_in
import pytest
import torch
import yaml
from hub_stand_in import Hub, Repo
from huggingface_hub import constants

import featalign
from featalign.errors import ConfigError, FeatalignError, WeightsError
from featalign.models import Segmentor
from featalign.models.card import ModelCard, Origin, Stated
from featalign.models.hub import HubModel
from featalign.models.licenses import license_metadata
from featalign.spec import Normalization

NAME = "somebody/streets"


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    return featalign.create_model("fpn", classes=["road", "a|b"], backbone="resnet10t", width=8, hidden=(8,)).eval()


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    with hub_stand_in.running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_standin")
        monkeypatch.chdir(tmp_path)
        yield hub


def same(a: Segmentor, b: Segmentor) -> bool:
    images = torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.equal(a(images), b(images))


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_folder_round_trip(model, tmp_path):
    model.save_pretrained(tmp_path / "streets")
    assert {path.name for path in (tmp_path / "streets").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert same(featalign.load(str(tmp_path / "streets")), model)
    card = (tmp_path / "streets" / "README.md").read_text()
    assert 'featalign.load("streets")' in card and str(tmp_path) not in card


@pytest.mark.parametrize(
    ("channels", "depth", "image"),
    [(3, 8, "street.jpg"), (1, 8, "street.jpg"), (1, 16, "image.npy"), (5, 8, "image.npy")],
)
def test_card_names_an_image_that_the_model_reads(channels, depth, image, tmp_path):
    model = featalign.create_model("fpn", classes=2, backbone="resnet10t", width=8, hidden=(8,), in_channels=channels)
    model.normalization = Normalization.for_channels(channels, depth=depth)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert f'Predictor(model)("{image}")' in card and f"{channels} channels of {depth} bits" in card


def test_hub_round_trip_asks_for_the_two_files_of_the_named_model_alone(model, hub):
    address = model.push_to_hub(NAME)
    assert address == f"{hub.url}/{NAME}"
    assert hub.repos[NAME].files.keys() == {"config.json", "model.safetensors", "README.md"}
    assert f'featalign.load("{NAME}")' in hub.repos[NAME].files["README.md"].decode()
    hub.asked.clear()
    assert same(featalign.load(NAME), model)
    commit = hub.repos[NAME].commit
    expected = {f"/{NAME}/resolve/main/config.json", f"/{NAME}/resolve/{commit}/model.safetensors"}
    assert hub.asked_for_files() == expected
    hub.asked.clear()
    assert same(featalign.load(f"hub:{NAME}@{commit}", local_files_only=True), model)
    assert same(featalign.load(Path(f"hub:{NAME}"), local_files_only=True), model)
    assert not hub.asked


def test_a_path_that_exists_wins(model, hub, tmp_path):
    model.save_pretrained(tmp_path / NAME)
    assert same(featalign.load(NAME), model)
    with pytest.raises(WeightsError, match=r"^somebody/other: no such folder; expected a model folder"):
        featalign.load(Path("somebody/other"))  # a Path is never looked up
    assert not hub.asked


def test_no_other_weights_are_read_whatever_the_configuration_says(model, hub, monkeypatch):
    model.push_to_hub(NAME)
    config = json.loads(hub.repos[NAME].files["config.json"])
    config["model"]["pretrained"] = True
    hub.repos[NAME].files["config.json"] = json.dumps(config).encode()
    hub.asked.clear()
    assert same(featalign.load(NAME), model)
    assert all(path.startswith(f"/{NAME}/resolve/") for path in hub.asked_for_files())


@pytest.mark.parametrize(
    ("repo", "name", "message"),
    [
        (None, NAME, "no such folder here, and on the hub hub:somebody/streets: no such model at"),
        (Repo(gated=True), NAME, "is gated; ask for access"),
        (Repo(), NAME, "holds no config.json, so it is no model of featalign"),
        (Repo(files={"config.json": b'{"model_type": "segformer"}'}), NAME, "config.json is of another library"),
        (Repo(files={"config.json": b"no JSON"}), NAME, "is not JSON"),
        (Repo(), f"{NAME}@v9", 'has no branch, tag or commit "v9"'),
        (Repo(), "some--body/x", "Cannot have -- or .."),
        (None, "nonsense", "nonsense: no such folder; expected a model folder, a training run, or a model on the hub"),
        (None, "a/b/c", "a/b/c: no such folder"),
    ],
)
def test_models_that_cannot_be_had(hub, repo, name, message):
    if repo is not None:
        hub.repos[NAME] = repo
    with pytest.raises(WeightsError, match=message) as caught:
        featalign.load(name)
    assert "\n" not in str(caught.value) and "long text" not in str(caught.value)
    assert not any(path.endswith(".safetensors") for path in hub.asked_for_files())


def test_offline_and_failing_hub(model, hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits between tries
    hub.status = 503
    with pytest.raises(WeightsError, match=r"answered with status 503; try again later$"):
        featalign.load(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    with pytest.raises(WeightsError, match=r"is not asked \(offline\) or cannot be reached, and config.json is not in"):
        featalign.load(NAME)
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        model.push_to_hub(NAME)
    assert "\n" not in str(caught.value) and not hub.asked


def test_pushes_that_cannot_be(model, hub, monkeypatch):
    with pytest.raises(ConfigError, match='as owner/name, got "streets"'):
        model.push_to_hub("streets")
    model.push_to_hub(NAME)
    with pytest.raises(WeightsError, match="exists and is public"):
        model.push_to_hub(NAME, private=True)
    model.push_to_hub("somebody/own", private=True)
    assert hub.repos["somebody/own"].private
    hub.status = 403
    with pytest.raises(WeightsError, match=r"refuses this login \(status 403\)"):
        model.push_to_hub(NAME)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "no such file")
    hub.asked.clear()
    with pytest.raises(WeightsError, match="pushing needs a login; run `hf auth login`"):
        model.push_to_hub(NAME)
    assert not hub.asked


def test_names_on_the_hub():
    assert HubModel.parse("hub:a/b@v1") == HubModel("a/b", "v1") == HubModel.parse("a/b@v1")
    assert [HubModel.parse(text) for text in ("a", "a/b/c", "/a/b", "./a/b", "../a", "a/", "a/b@")] == [None] * 7


@pytest.mark.parametrize(
    ("stated", "origin", "licence", "says"),
    [
        (Stated(), Origin(), None, "not stated: the stored model does not record them"),
        (Stated(), Origin(backbone=False), None, "none, it began with random weights"),
        (Stated(), Origin(backbone=True), "apache-2.0", "timm/resnet10t.c3_in1k: apache-2.0 (as timm states it)"),
        (Stated(), Origin(backbone=True, model="older"), None, "| older: not stated |"),
        (Stated(), Origin(backbone="mine.pth"), None, "mine.pth: not stated"),
        (Stated("MIT", "CamVid", "research only"), Origin(backbone=True), "mit", "| training data | research only |"),
    ],
)
def test_card_says_no_more_than_is_known(model, stated, origin, licence, says):
    card = ModelCard("streets", stated=stated, origin=origin).text(model, source=NAME)
    head = front_matter(card)
    assert head.get("license") == licence and says in card
    assert head["library_name"] == "featalign" and head["pipeline_tag"] == "image-segmentation"
    assert head.get("datasets") == ([stated.data] if stated.data else None)
    assert "| 1 | a\\|b | #" in card and "None were recorded." in card and "arXiv:2206.08655" in card


def test_licences_that_the_hub_does_not_list():
    assert license_metadata("research-only") == {"license": "other", "license_name": "research-only"}


def test_a_model_with_a_part_of_the_users_own_is_not_shared(tmp_path):
    model = featalign.create_model("fpn", classes=2, backbone="resnet10t", width=8, hidden=(8,))
    model.config = {}
    with pytest.raises(FeatalignError, match="cannot be stored"):
        model.save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()
