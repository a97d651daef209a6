"""Checkpoints that fastai itself writes, files that would run something, and a publisher on this machine."""

import builtins
import collections
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import socketserver
import struct
import tarfile
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.data.external import URLs
from fastai.text.all import AWD_LSTM, DataLoaders, LMDataLoader, awd_lstm_lm_config, language_model_learner, make_vocab
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse import data, ulmfit
from tlcourse.text import BOS, EOS, PAD, UNK, Vocab
from tlcourse.ulmfit import published

WORDS = make_vocab(collections.Counter(["แมว", "หมา", "แมว", "ปลา", "นก", "กิน"]), min_freq=1)
SIZES = dict(emb_sz=6, n_hid=10, n_layers=3)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """fastai's own language model, after a training that leaves NumPy's numbers in its optimiser."""
    torch.manual_seed(0)
    texts = [torch.randint(0, len(WORDS), (40,)) for _ in range(4)]
    batches = LMDataLoader(texts, bs=2, seq_len=5, num_workers=0)
    dls = DataLoaders(batches, batches)
    dls.vocab = WORDS
    learner = language_model_learner(
        dls, AWD_LSTM, config={**awd_lstm_lm_config, **SIZES}, pretrained=False, path=tmp_path_factory.mktemp("fastai")
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, 1e-2)
    torch.nn.init.normal_(learner.model[1].decoder.bias)
    learner.model.eval()
    return learner


@pytest.fixture(scope="module")
def state(learner):
    return {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}


def version_1(state: dict) -> dict:
    """The same weights under the names of fastai 1, which also keeps the dropped copy of each recurrent weight."""
    copies = {n.replace("weight_hh_l0_raw", "module.weight_hh_l0"): t * 0 for n, t in state.items() if "_raw" in n}
    return collections.OrderedDict(state | copies)


def version_0_7(state: dict) -> dict:
    """The names of fastai 0.7, whose decoder has no bias."""
    renamed = {n.replace("weight_hh_l0_raw", "module.weight_hh_l0_raw"): t for n, t in state.items()}
    del renamed["1.decoder.bias"]
    return renamed


def largest_difference(ours: ulmfit.LanguageModel, vocab: Vocab, theirs: torch.nn.Module, bias: bool = True) -> float:
    """Of the logits for the same words, in evaluation mode, over two batches with the state carried on."""
    names = dict(zip(Vocab.SPECIALS, published.FASTAI_SPECIALS, strict=True))
    rows = torch.tensor([WORDS.index(names.get(word, word)) for word in vocab.words])  # ours -> theirs
    ours.eval(), theirs.reset()
    offset = 0 if bias else theirs[1].decoder.bias[rows]
    worst = 0.0
    for seed in range(2):
        ids = torch.randint(0, len(vocab), (3, 7), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = theirs(rows[ids])[0][..., rows] - offset
            worst = max(worst, (ours(ids) - expected).abs().max().item())
    return worst


class TestFastaisFiles:
    def load(self, state, tmp_path, **how):
        torch.save(state, tmp_path / "w.pth", **how)
        (tmp_path / "itos.pkl").write_bytes(pickle.dumps(WORDS, protocol=3))
        return published.load_fastai(tmp_path / "w.pth", tmp_path / "itos.pkl")

    @pytest.mark.parametrize("with_opt", [True, False])
    def test_save_of_version_2(self, learner, tmp_path, with_opt):
        path = learner.save(tmp_path / "lm", with_opt=with_opt)
        (tmp_path / "itos.json").write_text(json.dumps(WORDS), encoding="utf-8")
        ours, vocab = published.load_fastai(path, tmp_path / "itos.json")
        assert largest_difference(ours, vocab, learner.model) < 1e-5
        assert (ours.config.emb_dim, ours.config.hidden_dim, ours.config.n_layers) == (6, 10, 3)
        assert vocab.words[4:9] == ["xxfld", "xxrep", "xxwrep", "xxup", "xxmaj"] and "xxfake" not in vocab.words

    def test_save_encoder_of_version_2_gives_no_bias(self, learner, tmp_path):
        learner.save_encoder(tmp_path / "enc")
        ours, vocab = published.backbone_from_fastai(published.read_weights(tmp_path / "enc.pth"), WORDS)
        assert largest_difference(ours, vocab, learner.model, bias=False) < 1e-5

    @pytest.mark.parametrize("zipped", [True, False])
    def test_version_1_with_its_optimiser(self, learner, state, tmp_path, zipped):
        adam = {
            "state": {0: {"step": 3, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}},
            "param_groups": [{"lr": np.float64(0.5), "betas": (np.float64(0.8), 0.99), "params": [0]}],  # fastai 1's
        }
        whole = {"model": version_1(state), "opt": adam}
        ours, vocab = self.load(whole, tmp_path, _use_new_zipfile_serialization=zipped)
        assert largest_difference(ours, vocab, learner.model) < 1e-5

    def test_version_0_7(self, learner, state, tmp_path):
        ours, vocab = self.load(version_0_7(state), tmp_path)
        assert largest_difference(ours, vocab, learner.model, bias=False) < 1e-5

    def test_through_numpy_and_half_precision(self, learner, state):
        arrays = {name: tensor.numpy() for name, tensor in version_1(state).items()}
        ours, vocab = published.backbone_from_fastai({n: torch.from_numpy(a) for n, a in arrays.items()}, WORDS)
        assert largest_difference(ours, vocab, learner.model) < 1e-5
        half, _ = published.backbone_from_fastai({n: t.half() for n, t in state.items()}, WORDS)
        assert half.decoder_bias.dtype == torch.float32
        assert largest_difference(half, vocab, learner.model) < 1e-2

    def test_saved_as_safetensors_and_back(self, learner, state, tmp_path):
        path = ulmfit.save_backbone(*published.backbone_from_fastai(state, WORDS), tmp_path / "b.safetensors")
        assert largest_difference(*ulmfit.load_backbone(path), learner.model) < 1e-5


class TestWords:
    def test_special_tokens_wherever_they_stand(self, state):
        words = ["แมว", "xxeos", "xxpad", "xxmaj", "xxunk", "xxbos", *(f"คำ{i}" for i in range(len(WORDS) - 6))]
        model, vocab = published.backbone_from_fastai(state, words)
        old, new = state["0.encoder.weight"], model.encoder.embedding.weight
        for ours, theirs in ((UNK, "xxunk"), (PAD, "xxpad"), (BOS, "xxbos"), (EOS, "xxeos")):
            assert torch.equal(new[ours], old[words.index(theirs)])
        assert torch.equal(new[vocab["แมว"]], old[0]) and "xxmaj" in vocab

    def test_a_missing_special_token_is_the_mean(self, state):
        words = ["หนู" if word == "xxeos" else word for word in WORDS]
        model, _ = published.backbone_from_fastai(state, words)
        torch.testing.assert_close(model.encoder.embedding.weight[EOS], state["0.encoder.weight"].mean(0))
        torch.testing.assert_close(model.decoder_bias[EOS], state["1.decoder.bias"].mean(0))

    def test_words_without_fastais_filler(self, state):
        assert WORDS[-1] == "xxfake"
        cut = [word for word in WORDS if word != "xxfake"]
        whole, bare = (published.backbone_from_fastai(state, words) for words in (WORDS, cut))
        assert whole[1] == bare[1]
        assert torch.equal(whole[0].encoder.embedding.weight, bare[0].encoder.embedding.weight)

    def test_a_word_that_looks_like_our_special_token_is_left_out(self, state):
        words = ["<unk>" if word == "แมว" else word for word in WORDS]
        _, vocab = published.backbone_from_fastai(state, words)
        assert vocab.words.count("<unk>") == 1 and "แมว" not in vocab

    @pytest.mark.parametrize("words", [WORDS[:-9], [*WORDS, "เกิน"], []])
    def test_another_number_of_words(self, state, words):
        with pytest.raises(ValueError, match=rf"x\.pth has {len(WORDS)} rows, the vocabulary {len(words)} words"):
            published.backbone_from_fastai(state, words, source="x.pth")

    def test_words_of_another_library(self, state):
        with pytest.raises(ValueError, match="not fastai's: it has no xxunk"):
            published.backbone_from_fastai(state, [f"คำ{i}" for i in range(len(WORDS))])

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_every_pickle_protocol(self, tmp_path, protocol):
        (tmp_path / "itos.pkl").write_bytes(pickle.dumps(WORDS, protocol=protocol))
        assert published.read_words(tmp_path / "itos.pkl") == WORDS

    @pytest.mark.parametrize("content", [{"แมว": 0}, ["แมว", 3], "แมว", None])
    def test_no_list_of_words(self, tmp_path, content):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
        (tmp_path / "a.json").write_text(json.dumps(content))
        for name in ("a.pkl", "a.json"):
            with pytest.raises(ValueError, match="holds no list of words"):
                published.read_words(tmp_path / name)


class TestAnotherModel:
    def refused(self, weights, why):
        with pytest.raises(ValueError, match=why):
            published.backbone_from_fastai(weights, WORDS, source="x.pth")

    def test_qrnn(self, state):
        layer = {"0.rnns.0.layers.0.linear.weight_raw": torch.zeros(30, 12)}
        self.refused({n: t for n, t in state.items() if "rnns" not in n} | layer, "QRNN")

    def test_bidirectional(self, state):
        self.refused(state | {"0.rnns.0.module.weight_ih_l0_reverse": torch.zeros(40, 6)}, "bidirectional")

    def test_classifier(self, state):
        classifier = {n.replace("0.", "0.module.", 1): t for n, t in state.items() if n.startswith("0.")}
        self.refused(classifier | {"1.layers.0.0.weight": torch.zeros(18)}, "classifier")

    def test_transformer(self):
        self.refused({"transformer.wte.weight": torch.zeros(24, 6)}, "no AWD-LSTM language model.*transformer.wte")

    def test_untied(self, state):
        self.refused(state | {"1.decoder.weight": torch.zeros(len(WORDS), 6)}, "not tied")

    def test_a_layer_too_few(self, state):
        self.refused({n: t for n, t in state.items() if "rnns.1" not in n}, r"lacks encoder\.rnns\.1")
        self.refused({n: t for n, t in state.items() if "rnns.2" not in n}, r"encoder\.rnns\.1\.bias.* has the shape")

    def test_sizes_that_contradict_each_other(self, state):
        self.refused(state | {"0.rnns.1.module.bias_ih_l0": torch.zeros(7)}, r"bias_ih_l0 has the shape \(7,\)")
        self.refused(state | {"0.encoder.weight": torch.zeros(len(WORDS))}, "other dimensions")


# --------------------------------------------------------------------------------------------- files that would run
class Nested:
    class Deeper:
        pass


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Built:
    """Pickles as a call whose result is then given a state."""

    def __reduce__(self):
        return os.path.join, ("a",), {"b": 1}


MARKER = "tlcourse_was_run"
ATTACKS = {
    "system": (Calls(os.system, f"touch {MARKER}"), "system"),
    "eval": (Calls(eval, f"open('{MARKER}', 'w')"), "eval"),
    "exec in a dict": ({"model": {"0.encoder.weight": Calls(exec, f"open('{MARKER}', 'w')")}}, "exec"),
    "getattr": (Calls(getattr, Calls(__import__, "os"), "system"), "__import__|getattr"),
    "open": ([Calls(open, MARKER, "w")], "open"),
    "build": (Built(), "join"),
    "nested class": (Nested.Deeper(), "Deeper|getattr|_reconstructor"),
    "class": (Nested, "Nested"),
    "torch.load": (Calls(torch.load, MARKER), "torch.*load"),
    "function of NumPy": (Calls(np.save, MARKER, 1), "numpy.*save"),
    "partial": (functools.partial(print, "x"), "partial"),
}
# Written by hand, as no library would: a memo entry that is called later, the extension registry, a persistent id.
BY_HAND = {
    "memo": b"\x80\x02cbuiltins\neval\nq\x01X\x01\x00\x00\x001\x85R.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.",
    "instance": b"(S'true'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'true'\no.",
    "new object": b"\x80\x02cbuiltins\nobject\n)\x81.",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / MARKER).exists(), "the file was run"


class TestRefused:
    @pytest.mark.parametrize("attack", ATTACKS)
    @pytest.mark.parametrize("zipped", [True, False])
    def test_weights(self, here, attack, zipped):
        evil, name = ATTACKS[attack]
        torch.save({"model": evil}, here / "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(published.UnsafePickle, match=f"w.pth is refused: reading it would call .*({name})"):
            published.read_weights(here / "w.pth")

    @pytest.mark.parametrize("attack", ATTACKS)
    @pytest.mark.parametrize("protocol", [0, 2, 4])
    def test_words(self, here, attack, protocol):
        evil, name = ATTACKS[attack]
        (here / "itos.pkl").write_bytes(pickle.dumps(["xxunk", evil], protocol=protocol))
        with pytest.raises(published.UnsafePickle, match=f"itos.pkl is refused: reading it would call .*({name})"):
            published.read_words(here / "itos.pkl")

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
    @pytest.mark.parametrize("attack", BY_HAND)
    def test_pickles_written_by_hand(self, here, attack):
        (here / "itos.pkl").write_bytes(BY_HAND[attack])
        with pytest.raises(published.UnsafePickle, match=r"would call (builtins|os)\."):
            published.read_words(here / "itos.pkl")
        (here / "w.pth").write_bytes(BY_HAND[attack])
        with pytest.raises(ValueError, match=r"w\.pth is (refused|damaged)"):
            published.read_weights(here / "w.pth")

    def test_even_a_harmless_class_is_named(self, here):
        (here / "itos.pkl").write_bytes(pickle.dumps(collections.defaultdict(int, {"แมว": 0})))
        with pytest.raises(published.UnsafePickle, match=r"collections\.defaultdict"):
            published.read_words(here / "itos.pkl")

    def test_what_stands_for_numpy_calls_nothing(self, here, monkeypatch):
        """The name is NumPy's, the arguments an attack: the stand-in takes and forgets them."""
        asked = []
        monkeypatch.setattr(builtins, "compile", lambda *args, **kwargs: asked.append(args))
        scalar = np.float64(1).__reduce__()[0]
        torch.save({"model": {"a": torch.ones(2)}, "opt": Calls(scalar, "O", "compile")}, here / "w.pth")
        assert list(published.read_weights(here / "w.pth")) == ["a"] and not asked
        torch.save({"model": {"a": Calls(scalar, "O", 1)}}, here / "w.pth")
        with pytest.raises(ValueError, match="'a' is no tensor"):
            published.read_weights(here / "w.pth")

    @pytest.mark.parametrize(
        "raw",
        [
            b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",  # a string of an exabyte
            b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",  # a byte array of a terabyte
            b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of four thousand million places
            b"\x80\x02]p99999999999\n.",
        ],
    )
    def test_claims_larger_than_the_file(self, here, raw):
        (here / "itos.pkl").write_bytes(raw)
        with pytest.raises(ValueError, match="damaged"):
            published.read_words(here / "itos.pkl")

    def test_a_tensor_that_claims_more_than_the_file(self, here):
        torch.save({"a": torch.zeros(1).expand(1 << 30, 400)}, here / "w.pth")
        with pytest.raises(ValueError, match=r"a claims the shape \(1073741824, 400\)"):
            published.read_weights(here / "w.pth")

    def test_a_zip_that_unpacks_to_more_than_itself(self, here):
        torch.save({"a": torch.zeros(1000, 1000)}, here / "w.pth")
        with zipfile.ZipFile(here / "w.pth") as old, zipfile.ZipFile(here / "v.pth", "w", zipfile.ZIP_DEFLATED) as new:
            for member in old.namelist():
                new.writestr(member, old.read(member))
        with pytest.raises(ValueError, match="unpacks to more"):
            published.read_weights(here / "v.pth")

    @pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {}}, {"a": 1}, {3: torch.ones(1)}, torch.ones(2)])
    def test_no_state_dict(self, here, content):
        torch.save(content, here / "w.pth")
        with pytest.raises(ValueError, match="holds no state dict"):
            published.read_weights(here / "w.pth")

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, here, state, zipped, left):
        torch.save(state, here / "w.pth", _use_new_zipfile_serialization=zipped)
        raw = (here / "w.pth").read_bytes()
        (here / "w.pth").write_bytes(raw[: int(left * len(raw))])
        with pytest.raises(ValueError, match=r"w\.pth is damaged"):
            published.read_weights(here / "w.pth")

    def test_no_file_or_too_large_a_one(self, here, monkeypatch):
        for read in (published.read_weights, published.read_words):
            with pytest.raises(FileNotFoundError):
                read(here / "none")
        monkeypatch.setattr(published, "MOST_WORDS", 3)
        (here / "w.pkl").write_bytes(b"1234")
        with pytest.raises(ValueError, match="too large for a list of words: 4 bytes"):
            published.read_words(here / "w.pkl")

    @given(place=st.integers(0, 10_000), byte=st.integers(0, 255), protocol=st.integers(0, 5))
    @settings(max_examples=40)
    def test_a_damaged_pickle_gives_words_or_a_clear_error(self, tmp_path_factory, place, byte, protocol):
        raw = bytearray(pickle.dumps(WORDS, protocol=protocol))
        raw[place % len(raw)] = byte
        path = tmp_path_factory.getbasetemp() / "damaged.pkl"
        path.write_bytes(raw)
        try:
            assert all(isinstance(word, str) for word in published.read_words(path))
        except ValueError as error:
            assert str(path) in str(error)


# ------------------------------------------------------------------------------------------------- a publisher
class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def add(tar: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    tar.addfile(member, io.BytesIO(raw))


def tgz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, raw in members.items():
            add(tar, name, raw)
    return buffer.getvalue()


def pth(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publish files on this machine under the name `lm`; gives the table that leads to them."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(site)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(files: dict[str, bytes], *, sums: bool = True, **changes) -> dict[str, published.Weights]:
        for name, raw in files.items():
            (site / name).write_bytes(raw)
        entry = replace(
            published.info("fastai-wt103-fwd"),
            **{"name": "lm", "emb_dim": 6, "hidden_dim": 10, "n_layers": 3} | changes,
            files=tuple(
                published.File(
                    address=f"http://127.0.0.1:{server.server_address[1]}/{name}",
                    bytes=len(raw) if sums else 10**7,
                    md5=hashlib.md5(raw).hexdigest() if sums else "",
                )
                for name, raw in files.items()
            ),
        )
        return {"lm": entry}

    publish.site = site
    publish.cache = tmp_path / "cache" / "lm"
    yield publish
    server.shutdown()
    server.server_close()


class TestPublished:
    def test_an_archive_becomes_a_backbone(self, publish, learner, state, monkeypatch):
        archive = tgz({"wt/._w.pth": b"x", "wt/w.pth": pth(version_1(state)), "wt/itos.pkl": pickle.dumps(WORDS)})
        table = publish({"lm.tgz": archive})
        path = published.fetch("lm", table=table)
        assert path == publish.cache / "lm.safetensors"
        assert largest_difference(*ulmfit.load_backbone(path), learner.model) < 1e-5
        (publish.site / "lm.tgz").unlink()
        assert published.fetch("lm", table=table) == path  # needs no publisher any more
        monkeypatch.setattr(published, "read_table", lambda: table)
        model, vocab = published.load("lm", Vocab([*Vocab.SPECIALS, "แมว", "ช้าง"]))
        assert model.config.vocab_size == len(vocab) == 6

    def test_two_files_without_a_sum(self, publish, learner, state):
        table = publish(
            {"w.pth": pth({"model": state, "opt": {}}), "itos.json": json.dumps(WORDS).encode()}, sums=False
        )
        assert largest_difference(*ulmfit.load_backbone(published.fetch("lm", table=table)), learner.model) < 1e-5

    def test_another_model_than_published(self, publish, state):
        files = {"w.pth": pth(state), "itos.json": json.dumps(WORDS).encode()}
        table = publish(files, sums=False, hidden_dim=1550)
        with pytest.raises(ValueError, match=r"w\.pth is not lm: its hidden_dim is 10, not 1550"):
            published.fetch("lm", table=table)
        assert not list(publish.cache.glob("*.safetensors*"))

    def test_a_wrong_sum(self, publish, state):
        table = publish({"lm.tgz": tgz({"w.pth": pth(state), "i.pkl": pickle.dumps(WORDS)})})
        (publish.site / "lm.tgz").write_bytes(tgz({"evil.pth": b"x"}))
        with pytest.raises(data.ChecksumError, match=r"lm could not be downloaded.*\n.*lm\.tgz"):
            published.fetch("lm", table=table)
        assert not (publish.cache / "lm.tgz").exists()

    def test_no_network(self, publish):
        table = publish({"lm.tgz": b"x"})
        (publish.site / "lm.tgz").unlink()
        with pytest.raises(data.DownloadError, match=r"404(.|\n)*put it at(.|\n)*TLCOURSE_DATA"):
            published.fetch("lm", table=table)

    def test_a_folder_of_the_users(self, publish, learner, state, tmp_path, monkeypatch):
        archive = tgz({"w.pth": pth(state), "i.pkl": pickle.dumps(WORDS)})
        table = publish({"lm.tgz": archive})
        (publish.site / "lm.tgz").unlink()
        (tmp_path / "mine" / "lm").mkdir(parents=True)
        monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "mine"))
        (tmp_path / "mine" / "lm" / "lm.tgz").write_bytes(archive + b"x")
        with pytest.raises(data.ChecksumError, match="is not the published one: its md5 is"):
            published.fetch("lm", table=table)
        (tmp_path / "mine" / "lm" / "lm.tgz").write_bytes(archive)
        assert largest_difference(*ulmfit.load_backbone(published.fetch("lm", table=table)), learner.model) < 1e-5

    def test_an_archive_that_leads_outside(self, publish, state, tmp_path):
        outside = {"../../outside.pth": pth(state), f"{tmp_path}/absolute.pkl": pickle.dumps(WORDS)}
        before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        published.fetch("lm", table=publish({"lm.tgz": tgz(outside)}))
        after = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        assert after - before == {publish.site / "lm.tgz"}
        assert {path.name for path in publish.cache.iterdir()} >= {"unpacked.pth", "unpacked.pkl"}

    @pytest.mark.parametrize(
        "members, why",
        [
            ({"w.pth": b"x"}, r"lacks the weights \(\.pth\) or the words"),
            ({"w.pth": b"x", "v.pth": b"x"}, "one too many"),
            ({"w.pth": b"x" * 3000}, "too large"),
        ],
    )
    def test_an_archive_with_other_files(self, publish, members, why, monkeypatch):
        monkeypatch.setattr(published, "MOST_UNPACKED", 2000)
        with pytest.raises(ValueError, match=why):
            published.fetch("lm", table=publish({"lm.tgz": tgz(members)}))

    def test_a_link_in_an_archive_is_no_file(self, publish):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            link = tarfile.TarInfo("w.pth")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
            add(tar, "i.pkl", pickle.dumps(WORDS))
        with pytest.raises(ValueError, match="lacks the weights"):
            published.fetch("lm", table=publish({"lm.tgz": buffer.getvalue()}))

    def test_a_damaged_archive(self, publish, state):
        archive = tgz({"w.pth": pth(state), "i.pkl": pickle.dumps(WORDS)})
        with pytest.raises(ValueError, match=r"lm\.tgz is damaged"):
            published.fetch("lm", table=publish({"lm.tgz": archive[: len(archive) // 2]}))


class TestTable:
    def test_every_entry_is_verified_and_credited(self):
        for entry in published.read_table().values():
            assert entry.verified and entry.licence and entry.citation and entry.homepage
            for file in entry.files:
                assert file.address.startswith("https://") and file.bytes > 0
                assert len(file.md5) == 32 or "no sum" in entry.verified

    def test_fastais_addresses(self):
        for name, url in (("fastai-wt103-fwd", URLs.WT103_FWD), ("fastai-wt103-bwd", URLs.WT103_BWD)):
            entry = published.info(name)
            assert [file.address for file in entry.files] == [url] and entry.backwards == name.endswith("bwd")
            assert {k: awd_lstm_lm_config[k] for k in SIZES} == {
                "emb_sz": entry.emb_dim,
                "n_hid": entry.hidden_dim,
                "n_layers": entry.n_layers,
            }

    def test_an_unknown_name(self):
        with pytest.raises(
            data.DataError, match=r"no published weights 'thai3fit'\. There are: thai2fit, fastai-wt103-fwd"
        ):
            published.fetch("thai3fit")

    def test_a_damaged_table(self, tmp_path):
        for text in ("[a", "[a]\ntitle = 'x'", "[a]\nfiles = [{address = 3}]"):
            (tmp_path / "t.toml").write_text(text)
            with pytest.raises(data.DataError, match=r"t\.toml cannot be read"):
                published.read_table(tmp_path / "t.toml")
