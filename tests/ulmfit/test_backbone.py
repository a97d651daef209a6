"""Backbones move to another vocabulary as fastai's do, and files of other models are told apart."""

import json
from dataclasses import replace

import pytest
import torch
from fastai.text.learner import match_embeds
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tlcourse import ulmfit
from tlcourse.text import Vocab
from tlcourse.ulmfit import AWDLSTMConfig, LanguageModel, TextClassifier, backbone

KNOWN = Vocab([*Vocab.SPECIALS, "ธนาคาร", "กลาง", "เงิน", "ฝาก", "แมว"])
WANTED = Vocab([*Vocab.SPECIALS, "เงินฝาก", "ธนาคาร", "วาฬ", "แมว"])
CONFIG = AWDLSTMConfig(vocab_size=len(KNOWN), emb_dim=4, hidden_dim=6, n_layers=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = LanguageModel(CONFIG)
    torch.nn.init.normal_(model.decoder_bias)
    return model


@pytest.fixture
def path(model, tmp_path):
    return ulmfit.save_backbone(model, KNOWN, tmp_path / "thai.safetensors")


class TestMapVocabulary:
    def test_rows_are_those_of_fastai(self, model):
        moved, _ = ulmfit.map_vocabulary(model, KNOWN, WANTED)
        theirs = {"0.encoder.weight": model.encoder.embedding.weight.data, "1.decoder.bias": model.decoder_bias.data}
        theirs = match_embeds(theirs, KNOWN.words, WANTED.words)
        torch.testing.assert_close(moved.encoder.embedding.weight.data, theirs["0.encoder.weight"])
        torch.testing.assert_close(moved.decoder_bias.data, theirs["1.decoder.bias"])
        assert moved.config == replace(CONFIG, vocab_size=len(WANTED))

    def test_the_model_is_left_as_it_is_and_its_layers_are_copied(self, model):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        moved, _ = ulmfit.map_vocabulary(model.eval(), KNOWN, WANTED)
        assert not moved.training
        with torch.no_grad():
            for parameter in moved.parameters():
                parameter.zero_()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name])

    def test_known_words_are_predicted_alike(self, model):
        """Between known words the differences of the logits do not depend on the vocabulary."""
        moved, _ = ulmfit.map_vocabulary(model.eval(), KNOWN, WANTED)
        words = ["<bos>", "แมว", "ธนาคาร"]
        ours, theirs = (torch.tensor([[vocab[word] for word in words]]) for vocab in (WANTED, KNOWN))
        torch.testing.assert_close(moved(ours)[..., ours[0]], model(theirs)[..., theirs[0]])

    @given(known=st.sets(st.text("กขคง", min_size=1)), wanted=st.sets(st.text("กขคง", min_size=1)))
    @settings(max_examples=25)
    def test_the_report_counts_every_word(self, known, wanted):
        known, wanted = (Vocab([*Vocab.SPECIALS, *sorted(words)]) for words in (known, wanted))
        model = LanguageModel(AWDLSTMConfig(vocab_size=len(known), emb_dim=2, hidden_dim=2, n_layers=1))
        moved, report = ulmfit.map_vocabulary(model, known, wanted)
        common = set(known.words[4:]) & set(wanted.words[4:])
        assert (report.kept, len(report.new), report.dropped) == (
            len(common),
            len(wanted) - 4 - len(common),
            len(known) - 4 - len(common),
        )
        for word in (*Vocab.SPECIALS, *common):
            assert torch.equal(
                moved.encoder.embedding.weight[wanted[word]], model.encoder.embedding.weight[known[word]]
            )

    def test_the_report_in_words(self, model):
        counts = {"เงินฝาก": 5, "ธนาคาร": 60, "วาฬ": 10, "แมว": 5, "นอกคลัง": 20}
        _, report = ulmfit.map_vocabulary(model, KNOWN, WANTED, counts=counts)
        assert report.new == ("วาฬ", "เงินฝาก") and report.new_share == pytest.approx(0.15)
        assert str(report) == (
            "2 of 4 words keep their rows.\n"
            "2 are new (15.0% of the tokens) and start as the mean of all rows: วาฬ, เงินฝาก\n"
            "3 words of the backbone are left behind."
        )
        _, report = ulmfit.map_vocabulary(model, KNOWN, KNOWN)
        assert str(report) == "5 of 5 words keep their rows.\n0 words of the backbone are left behind."
        assert report.new_share is None

    def test_a_compound_can_start_from_its_parts(self, model):
        parts = {"เงินฝาก": ["เงิน", "ฝาก"], "วาฬ": ["วา", "ฬ"]}
        moved, report = ulmfit.map_vocabulary(model, KNOWN, WANTED, parts=parts.get)
        rows = model.encoder.embedding.weight
        expected = (rows[KNOWN["เงิน"]] + rows[KNOWN["ฝาก"]]) / 2
        torch.testing.assert_close(moved.encoder.embedding.weight[WANTED["เงินฝาก"]], expected)
        torch.testing.assert_close(moved.encoder.embedding.weight[WANTED["วาฬ"]], rows.mean(0))
        torch.testing.assert_close(moved.decoder_bias[WANTED["เงินฝาก"]], model.decoder_bias.mean())
        assert report.composed == 1 and "1 of them as the mean of their parts" in str(report)

    def test_a_vocabulary_of_another_model(self, model):
        with pytest.raises(ValueError, match="the vocabulary has 8 words, the model 9"):
            ulmfit.map_vocabulary(model, WANTED, KNOWN)


class TestLoadBackbone:
    def rewrite(self, path, weights=None, **meta):
        """The file with other weights or another header, as another program would write it."""
        header = {"words": KNOWN.words, "config": {**CONFIG.__dict__, "dropouts": CONFIG.dropouts.__dict__}}
        save_file(weights or load_file(path), path, metadata={backbone.FORMAT: json.dumps(header | meta)})

    def refused(self, path, why):
        with pytest.raises(ValueError, match=why) as caught:
            ulmfit.load_backbone(path)
        assert str(path) in str(caught.value)

    def test_equal_models_give_equal_files(self, model, tmp_path):
        about = {"sources": [{"name": "ข่าว", "licence": "CC0"}], "epochs": 3}
        files = [ulmfit.save_backbone(model, KNOWN, tmp_path / name, about=about) for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert "CC0" in files[0].read_bytes()[:5000].decode(errors="ignore")

    def test_words_that_are_not_those_of_the_rows(self, path):
        self.rewrite(path, words=WANTED.words)
        self.refused(path, "has 8 words for 9 rows")
        self.rewrite(path, load_file(path) | {"decoder_bias": torch.zeros(8)})
        self.refused(path, r"decoder_bias has the shape \(8,\), and \(9,\) by the other sizes")

    @pytest.mark.parametrize(
        "meta",
        [
            {"words": 1},
            {"words": ["แมว"]},
            {"config": {}},
            {"config": {"vocab_size": 9, "dropouts": {"x": 1}}},
        ],
    )
    def test_a_header_that_cannot_be_read(self, path, meta):
        self.rewrite(path, **meta)
        self.refused(path, "header that cannot be read")

    def test_sizes_that_would_fill_the_memory(self, path):
        sizes = CONFIG.__dict__ | {"hidden_dim": 10**12, "dropouts": CONFIG.dropouts.__dict__}
        self.rewrite(path, config=sizes)
        self.refused(path, "rnns.0.* has the shape")

    def test_another_model(self, path, model):
        save_file(TextClassifier(model.encoder, 3).state_dict(), path)
        self.refused(path, r"encoder\.embedding\.weight.*no backbone of this course")
        save_file({"transformer.wte.weight": torch.zeros(9, 4)}, path, metadata={"format": "pt"})
        self.refused(path, r"transformer\.wte\.weight.*no backbone of this course")
        self.rewrite(path, TextClassifier(model.encoder, 3).state_dict())
        self.refused(path, "it lacks decoder_bias")
        self.rewrite(path, model.state_dict() | {"head.weight": torch.zeros(3)})
        self.refused(path, r"head\.weight has no place")

    @pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.99])
    def test_truncated(self, path, left):
        raw = path.read_bytes()
        path.write_bytes(raw[: int(left * len(raw))])
        self.refused(path, "damaged or no safetensors file")

    def test_a_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no backbone at"):
            ulmfit.load_backbone(tmp_path)

    def test_dropouts_to_train_with(self, path):
        halved = CONFIG.dropouts * 0.5
        assert ulmfit.load_backbone(path, WANTED, halved)[0].config.dropouts == halved
        assert ulmfit.load_backbone(path, WANTED)[0].config.dropouts == CONFIG.dropouts
