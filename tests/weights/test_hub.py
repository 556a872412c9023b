"""What a repository's config.json says of its weights, as timm writes it; which of its files and revisions are read.

No network: the hub's cache, a hub of one file on this machine, and a folder in the place of a repository.
"""

import errno
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.support.hub import COMMIT, make_repository
from tests.support.torch_files import FOLDER
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo.data import Preprocessing
from zoo.errors import UserError
from zoo.weights import find_class_names, find_preprocessing, hub
from zoo.weights.files import write_arrays

SAID = {  # as in timm/resnet50.a1_in1k
    "input_size": [3, 192, 160],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "num_classes": 2,
}
EXPECTED = Preprocessing((192, 160), 0.95, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), interpolation="bicubic")
NEW = {"architecture": "resnet50", "num_classes": 2, "pretrained_cfg": SAID}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return make_repository(tmp_path, "org/name")


def write(repository, values):
    (repository / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("values", [NEW, {"architecture": "resnet50", **SAID}])
def test_the_preprocessing_is_read_from_timm_s_files_new_and_old(repository, values):
    write(repository, values)
    assert hub.read_card("hf:org/name") == hub.Card(EXPECTED, None)


def test_the_names_of_the_classes_are_read(repository):
    write(repository, {**NEW, "label_names": ["cat", "dog"]})
    assert hub.read_card("hf:org/name").class_names == ("cat", "dog")


def test_a_squashed_picture_is_stretched(repository):
    write(repository, {"pretrained_cfg": {**SAID, "crop_mode": "squash"}})
    assert hub.read_card("hf:org/name").preprocessing.crop is None


def test_pictures_are_prepared_as_the_repository_says(repository):
    write(repository, NEW)
    write_arrays(repository / "model.safetensors", {}, {})
    assert find_preprocessing("resnet50", "hf:org/name") == EXPECTED


@pytest.mark.parametrize("values", [None, {"model_type": "bert"}])
def test_a_repository_without_timm_s_words_says_nothing(repository, values):
    if values:
        write(repository, values)
    assert hub.read_card("hf:org/name") is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pretrained_cfg": {**SAID, "interpolation": "lanczos"}}, "interpolation bilinear or bicubic"),
        ({"pretrained_cfg": {**SAID, "crop_mode": "border"}}, "its crop_mode is 'border'"),
        ({"pretrained_cfg": {**SAID, "std": [0.2, 0.0, 0.2]}}, "std above 0"),
        ({"pretrained_cfg": {**SAID, "mean": "red"}}, "finite numbers"),
        ({"pretrained_cfg": {**SAID, "input_size": [192]}}, "as timm writes it"),
        ({"pretrained_cfg": {**SAID, "crop_pct": 0}}, "crop above 0.1"),
        ({"pretrained_cfg": {**SAID, "crop_pct": 1000}}, "crop above 0.1, up to 1"),
        ({"pretrained_cfg": {**SAID, "crop_pct": None}}, "as timm writes it"),
        ({"pretrained_cfg": {n: v for n, v in SAID.items() if n != "crop_pct"}}, "as timm writes it"),
        ({**NEW, "label_names": ["cat"]}, "1 label_names for 2 classes"),
        ({**NEW, "label_names": ["cat", 3]}, "not a list of names"),
        ([NEW], "as timm writes it"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_file(repository, wrong, message):
    write(repository, wrong)
    with pytest.raises(UserError, match=message) as error:
        hub.read_card("hf:org/name")
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_in_the_form_of_a_repository_is_read_like_one(tmp_path):
    write(tmp_path, {**NEW, "label_names": ["cat", "dog"]})
    with pytest.raises(
        FileNotFoundError, match=r"no model\.safetensors, .* or pytorch_model\.bin in the folder \S+\.$"
    ):
        zoo.load(NAME, tmp_path)
    safetensors.numpy.save_file(state_dict_of(), tmp_path / "model.safetensors")
    assert_equal_trees(zoo.load(NAME, tmp_path), zoo.from_torch(NAME, state_dict_of()))
    assert find_preprocessing(NAME, tmp_path) == EXPECTED
    assert find_class_names(NAME, str(tmp_path)) == ("cat", "dog")


def test_weights_are_found_under_each_of_their_names(repository):
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors from the hub's 'org/name'"):
        hub.fetch("hf:org/name")
    shutil.copy(FOLDER / "pytorch_model.bin", repository)
    assert hub.fetch("hf:org/name").name == "pytorch_model.bin"
    (repository / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"no model-1\.safetensors"):
        hub.fetch_file("hf:org/name", "model-1.safetensors")
    safetensors.numpy.save_file({"a": np.zeros(1)}, repository / "model-1.safetensors")
    assert zoo.weights.read(hub.fetch("hf:org/name")).keys() == {"a"}


def test_a_revision_is_a_part_of_the_name(repository):
    safetensors.numpy.save_file(state_dict_of(), repository / "model.safetensors")
    (repository.parents[1] / "refs" / "v1.0").write_text(COMMIT)
    assert_equal_trees(zoo.load(NAME, "hf:org/name@v1.0"), zoo.from_torch(NAME, state_dict_of()))
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors from the hub's 'org/name@v2\.0': ") as error:
        zoo.load(NAME, "hf:org/name@v2.0")
    assert "\n" not in str(error.value)


class Hub(BaseHTTPRequestHandler):
    """Has one file of 1000 bytes, gives the first half of it, and after that nothing."""

    left = (bytes(500),)

    def do_HEAD(self, code=200, error=None):
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("Content-Length", "0")
        else:
            for name, value in {"ETag": '"1"', "X-Repo-Commit": COMMIT, "Content-Length": "1000"}.items():
                self.send_header(name, value)
        self.end_headers()

    def do_GET(self):
        if self.left:
            self.do_HEAD()
            self.wfile.write(self.left[0])
            type(self).left = ()

    def log_message(self, *_):
        pass


class Refusing(Hub):
    """Has no such repository, revision or file."""

    code = ""

    def do_HEAD(self):
        super().do_HEAD(404, self.code)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Makes a handler the hub; returns nothing."""
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("RepoNotFound", "there is no such repository, or it is private: log in with `hf auth login`"),
        ("RevisionNotFound", "it has no revision 'v9'"),
        ("EntryNotFound", "the repository has no such file"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line_that_says_which(serve, code, reason):
    serve(type("Refusing", (Refusing,), {"code": code}))
    with pytest.raises(FileNotFoundError) as error:
        zoo.load(NAME, "hf:org/name@v9")
    assert str(error.value) == f"no model.safetensors from the hub's 'org/name@v9': {reason}."


class Denying(Hub):
    """Does not know who asks."""

    def do_HEAD(self):
        super().do_HEAD(401, "GatedRepo")


class Down(Hub):
    def do_HEAD(self):
        super().do_HEAD(503)


@pytest.mark.parametrize(("handler", "reason"), [(Denying, "ask for access on its page"), (Down, "503")])
def test_a_copy_in_the_cache_does_where_the_hub_gives_none_and_a_warning_says_so(serve, tmp_path, handler, reason):
    serve(handler)
    with pytest.raises(FileNotFoundError, match=f"no .* from the hub's 'org/name': .*{reason}"):
        hub.fetch("hf:org/name")
    (make_repository(tmp_path, "org/name") / "model.safetensors").touch()
    with pytest.warns(UserWarning, match=f"^model.safetensors of hf:org/name is a copy of earlier, .*{reason}") as told:
        assert hub.fetch("hf:org/name").exists()
    assert len(told) == 1
    assert "\n" not in str(told[0].message)


def test_a_file_that_the_hub_no_longer_has_is_not_taken_from_the_cache(serve, tmp_path):
    (make_repository(tmp_path, "org/name") / "model.safetensors").touch()
    serve(type("Refusing", (Refusing,), {"code": "EntryNotFound"}))
    with pytest.raises(FileNotFoundError, match="the repository has no such file"):
        hub.fetch("hf:org/name")


def test_a_full_disk_is_said_to_be_one(serve, tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    serve(Hub)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fill)
    with pytest.raises(OSError, match=rf"{re.escape(str(tmp_path))} was not written: the disk is full, make room"):
        hub.fetch("hf:org/name")


def test_an_interrupted_download_is_one_line_and_leaves_no_file_that_is_read(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    serve(Hub)
    with pytest.raises(
        FileNotFoundError, match=r"no model\.safetensors from the hub's 'org/name': .*disconnected"
    ) as error:
        zoo.load(NAME, "hf:org/name")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_what_is_pushed_is_one_commit_and_a_refusal_is_one_line(tmp_path, monkeypatch):
    calls = []

    class Api:
        def create_repo(self, repository, **options):
            calls.append((repository, options))
            return f"https://hub/{repository}"

        def upload_folder(self, **options):
            calls.append(options)
            if options["repo_id"] == "org/refused":
                raise PermissionError("403 Forbidden\nlong advice")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert hub.push(tmp_path, "org/name", private=True) == "https://hub/org/name"
    assert calls[0] == ("org/name", {"private": True, "exist_ok": True})
    assert (calls[1]["repo_id"], calls[1]["folder_path"]) == ("org/name", tmp_path)
    assert len(calls) == 2
    with pytest.raises(
        UserError, match=r"^nothing was pushed to org/refused \(403 Forbidden\): see that .* log in with `hf auth"
    ):
        hub.push(tmp_path, "org/refused")
