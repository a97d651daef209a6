"""The AWD-LSTM and its heads against fastai's, then what must hold whatever the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.text.models.awdlstm import AWD_LSTM
from fastai.text.models.core import get_language_model, get_text_classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tlcourse import ulmfit
from tlcourse.text import PAD, Vocab
from tlcourse.ulmfit import AWDLSTM, AWDLSTMConfig, Dropouts, LanguageModel, TextClassifier, backbone

TINY = AWDLSTMConfig(vocab_size=31, emb_dim=8, hidden_dim=12, n_layers=3)
FASTAI_TINY = dict(
    emb_sz=8,
    n_hid=12,
    n_layers=3,
    pad_token=PAD,
    hidden_p=0.1,
    input_p=0.1,
    embed_p=0.1,
    weight_p=0.1,
    bidir=False,
)
NO_DROPOUT = Dropouts(0, 0, 0, 0, 0)


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def language_models():
    """Ours with fastai's random weights, both in evaluation mode."""
    torch.manual_seed(0)
    theirs = get_language_model(
        AWD_LSTM, TINY.vocab_size, FASTAI_TINY | dict(output_p=0.1, tie_weights=True, out_bias=True)
    )
    torch.nn.init.normal_(theirs[1].decoder.bias)
    ours = LanguageModel(TINY)
    ours.load_state_dict(ulmfit.from_fastai(theirs.state_dict()))
    return ours.eval(), theirs.eval()


def padded_pair(lengths: list[int], bptt: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same texts padded right (ours) and padded in whole chunks in front, the rest behind (fastai's).

    The longest text must fill its last chunk: otherwise fastai's ``masked_concat_pool`` (2.8.12) counts padding in
    front of a short text as padding behind it, and takes a wrong state as the last.
    """
    assert max(lengths) % bptt == 0 or max(lengths) < bptt
    texts = [random_ids(n, seed=n) for n in lengths]
    time = max(lengths)
    ours = torch.stack([F.pad(t, (0, time - len(t)), value=PAD) for t in texts])
    fronts = [(time - len(t)) // bptt * bptt for t in texts]
    theirs = torch.stack([F.pad(t, (f, time - len(t) - f), value=PAD) for t, f in zip(texts, fronts, strict=True)])
    return ours, theirs


@pytest.fixture
def classifiers():
    torch.manual_seed(1)
    theirs = get_text_classifier(
        AWD_LSTM, TINY.vocab_size, 4, seq_len=5, config=FASTAI_TINY | dict(output_p=0.1), max_len=None
    )
    for module in theirs[1].modules():  # batch norm that does something
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    ours = TextClassifier(AWDLSTM(TINY), 4, bptt=5, max_len=10_000)
    weights = theirs.state_dict()
    renamed = ulmfit.from_fastai(weights)
    for i, block in enumerate(theirs[1].layers):
        for name, tensor in block.state_dict().items():
            layer, what = name.split(".")
            kind = type(block[int(layer)]).__name__
            renamed[f"head.{4 * i + {'BatchNorm1d': 0, 'Linear': 2}[kind]}.{what}"] = tensor
    ours.load_state_dict(renamed)
    return ours.eval(), theirs.eval()


class TestAgreementWithFastai:
    def test_language_model_over_several_batches(self, language_models):
        ours, theirs = language_models
        for step in range(3):  # the state carries over
            x = random_ids(4, 7, seed=step)
            logits, raw, _ = theirs(x)
            torch.testing.assert_close(ours(x), logits, atol=1e-5, rtol=0)
            torch.testing.assert_close(ours.raw_output, raw, atol=1e-5, rtol=0)

    def test_language_model_gradients(self, language_models):
        ours, theirs = language_models
        x, y = random_ids(4, 7), random_ids(4, 7, seed=9)
        F.cross_entropy(ours(x).flatten(0, 1), y.flatten()).backward()
        F.cross_entropy(theirs(x)[0].flatten(0, 1), y.flatten()).backward()
        expected = ulmfit.from_fastai({n: p.grad for n, p in theirs.named_parameters()})
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=0, msg=name)

    @pytest.mark.parametrize("lengths", [[4, 4, 4], [5, 3, 1], [20, 17, 10, 6, 5, 2]])
    def test_classifier_of_texts_of_several_chunks(self, classifiers, lengths):
        ours, theirs = classifiers
        right, front = padded_pair(lengths, bptt=5)
        logits = theirs(front)[0]
        torch.testing.assert_close(ours(right), logits, atol=1e-5, rtol=0)

    def test_classifier_gradients(self, classifiers):
        ours, theirs = classifiers
        right, front = padded_pair([20, 17, 10, 6, 5, 2], bptt=5)
        y = torch.tensor([0, 1, 2, 3, 0, 1])
        F.cross_entropy(ours(right), y).backward()
        F.cross_entropy(theirs(front)[0], y).backward()
        theirs_grads = {n: p.grad for n, p in theirs.named_parameters()}
        expected = ulmfit.from_fastai(theirs_grads)
        for name, parameter in ours.encoder.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[f"encoder.{name}"], atol=1e-5, rtol=0, msg=name)
        heads = zip(
            ours.head.parameters(),
            [g for n, g in theirs_grads.items() if n.startswith("1.layers")],
            strict=True,
        )
        for parameter, gradient in heads:
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=0)


class TestDropouts:
    def test_weight_drop_zeroes_weights_not_activations(self):
        lstm = ulmfit.WeightDropLSTM(3, 5, p=0.5).train()
        seen = {}
        original = torch.lstm
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                torch,
                "lstm",
                lambda x, h, weights, *rest: (seen.update(w=weights[1]), original(x, h, weights, *rest))[1],
            )
            lstm(torch.randn(2, 4, 3))
        dropped = seen["w"] == 0
        assert 0 < dropped.float().mean() < 1
        torch.testing.assert_close(seen["w"][~dropped], 2 * lstm.weight_hh_l0[~dropped])

    def test_weight_drop_is_absent_in_evaluation(self):
        lstm = ulmfit.WeightDropLSTM(3, 5, p=0.5).eval()
        plain = torch.nn.LSTM(3, 5, batch_first=True)
        plain.load_state_dict(lstm.state_dict())
        x = torch.randn(2, 4, 3)
        torch.testing.assert_close(lstm(x)[0], plain(x)[0])

    @given(p=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
    @settings(deadline=None, max_examples=20)
    def test_variational_dropout_has_one_mask_for_all_times(self, p, seed):
        torch.manual_seed(seed)
        y = ulmfit.VariationalDropout(p).train()(torch.ones(3, 6, 10))
        assert torch.equal(y, y[:, :1].expand_as(y))
        assert set(y.unique().tolist()) <= {0.0, float(torch.tensor(1.0) / (1 - p))} or torch.allclose(
            y[y > 0], torch.tensor(1 / (1 - p))
        )

    def test_embedding_dropout_drops_a_word_everywhere(self):
        torch.manual_seed(0)
        embedding = ulmfit.EmbeddingDropout(50, 4, p=0.5).train()
        ids = torch.arange(4, 50).repeat(2, 3)
        zero = (embedding(ids) == 0).all(-1)
        assert 0.2 < zero.float().mean() < 0.8
        for word in ids.unique():
            assert zero[ids == word].float().mean() in (0.0, 1.0)

    def test_scaling_and_bad_values(self):
        assert (Dropouts() * 0.5).weight == 0.1
        with pytest.raises(ValueError, match=r"weight=1\.5 is not a probability"):
            Dropouts(weight=1.5)


class TestLanguageModel:
    def test_it_never_sees_the_future(self):
        model = LanguageModel(TINY).eval()
        x = random_ids(1, 10)
        changed = x.clone()
        changed[0, 6:] = random_ids(4, seed=5)
        a = model(x)
        model.reset()
        b = model(changed)
        assert torch.equal(a[:, :6], b[:, :6]) and not torch.equal(a[:, 6:], b[:, 6:])

    def test_state_carried_equals_one_long_batch(self):
        model = LanguageModel(TINY).eval()
        x = random_ids(2, 12)
        whole = model(x)
        model.reset()
        parts = torch.cat([model(x[:, :5]), model(x[:, 5:])], dim=1)
        torch.testing.assert_close(parts, whole)

    def test_decoder_is_tied(self):
        model = LanguageModel(TINY)
        assert (
            sum(p.numel() for p in model.parameters())
            == sum(p.numel() for p in model.encoder.parameters()) + TINY.vocab_size
        )

    def test_layer_groups_hold_every_parameter_once(self):
        for model in (LanguageModel(TINY), TextClassifier(AWDLSTM(TINY), 3)):
            grouped = [id(p) for group in model.layer_groups() for p in group]
            assert sorted(grouped) == sorted(id(p) for p in model.parameters())


class TestClassifier:
    @given(
        lengths=st.lists(st.integers(1, 25), min_size=1, max_size=6),
        bptt=st.integers(1, 9),
        extra=st.integers(0, 7),
    )
    @settings(deadline=None, max_examples=30)
    def test_padding_and_order_change_nothing(self, lengths, bptt, extra):
        torch.manual_seed(0)
        model = TextClassifier(AWDLSTM(TINY), 3, bptt=bptt).eval()
        texts = [random_ids(n, seed=i) for i, n in enumerate(lengths)]
        batch = torch.stack([F.pad(t, (0, max(lengths) + extra - len(t)), value=PAD) for t in texts])
        alone = torch.cat([model(t[None]) for t in texts])
        torch.testing.assert_close(model(batch), alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(batch.flip(0)).flip(0), alone, atol=1e-5, rtol=1e-5)

    @given(bptt=st.integers(1, 30))
    @settings(deadline=None, max_examples=15)
    def test_chunks_change_nothing_in_the_forward_pass(self, bptt):
        torch.manual_seed(0)
        model = TextClassifier(AWDLSTM(TINY), 3, bptt=bptt).eval()
        x = random_ids(2, 23)
        chunked = model(x)
        model.bptt = 100
        torch.testing.assert_close(chunked, model(x), atol=1e-5, rtol=1e-5)

    def test_concat_pool_by_hand(self):
        hidden = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]]])
        mask = torch.tensor([[True, True, False]])
        pooled = ulmfit.concat_pool(hidden, mask, hidden[:, 1])
        assert pooled.tolist() == [[3, -2, 3, -2, 2, -3]]

    def test_max_len_limits_pooling_and_gradient(self):
        model = TextClassifier(AWDLSTM(replace(TINY, dropouts=NO_DROPOUT)), 3, bptt=5, max_len=5).eval()
        x = torch.arange(4, 24)[None]  # every word once: its gradient shows whether it was reached
        model(x).sum().backward()
        reached = model.encoder.embedding.weight.grad.abs().sum(-1) > 0
        assert not reached[4:19].any() and reached[19:24].all()

    def test_a_text_of_100_000_words(self):
        model = TextClassifier(AWDLSTM(TINY), 3, bptt=2000, max_len=2000).eval()
        assert model(random_ids(1, 100_000)).isfinite().all()

    def test_bad_input(self):
        with pytest.raises(ValueError, match="at least two classes"):
            TextClassifier(AWDLSTM(TINY), 1)
        with pytest.raises(ValueError, match="pooling 'mean' is unknown"):
            TextClassifier(AWDLSTM(TINY), 2, pooling="mean")
        with pytest.raises(ValueError, match="without a single token"):
            TextClassifier(AWDLSTM(TINY), 2)(torch.tensor([[5, 6], [PAD, PAD]]))
        with pytest.raises(ValueError, match="n_layers=0"):
            AWDLSTMConfig(vocab_size=5, n_layers=0)


class TestBackbone:
    words = (*Vocab.SPECIALS, "ยอด", "เงิน", "เน็ต")

    def model(self):
        torch.manual_seed(3)
        return LanguageModel(replace(TINY, vocab_size=len(self.words)))

    def test_round_trip(self, tmp_path):
        model, vocab = self.model(), Vocab(self.words)
        path = ulmfit.save_backbone(model, vocab, tmp_path / "thai.safetensors")
        again, words = ulmfit.load_backbone(path)
        assert tuple(words.words) == self.words and again.config == model.config
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor)
        assert [p.name for p in tmp_path.iterdir()] == ["thai.safetensors"]

    def test_new_words_start_as_the_mean(self, tmp_path):
        model = self.model()
        path = ulmfit.save_backbone(model, Vocab(self.words), tmp_path / "b.safetensors")
        wanted = Vocab([*Vocab.SPECIALS, "เน็ต", "โปร"])
        fitted, _ = ulmfit.load_backbone(path, wanted)
        old, new = model.encoder.embedding.weight, fitted.encoder.embedding.weight
        assert torch.equal(new[4], old[6])
        torch.testing.assert_close(new[5], old.mean(0))
        assert fitted.config.vocab_size == 6 and fitted.decoder_bias.shape == (6,)

    def test_bad_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no backbone at"):
            ulmfit.load_backbone(tmp_path / "none")
        (tmp_path / "bad").write_bytes(b"nonsense")
        with pytest.raises(ValueError, match="damaged or no safetensors"):
            ulmfit.load_backbone(tmp_path / "bad")
        backbone.save_file({"a": torch.zeros(1)}, tmp_path / "other")
        with pytest.raises(ValueError, match="no backbone of this course"):
            ulmfit.load_backbone(tmp_path / "other")
        with pytest.raises(ValueError, match="the vocabulary has 7 words, the model 31"):
            ulmfit.save_backbone(LanguageModel(TINY), Vocab(self.words), tmp_path / "x")

    def test_a_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = ulmfit.save_backbone(self.model(), Vocab(self.words), tmp_path / "b.safetensors")
        before = path.read_bytes()

        def full(*args, **kwargs):
            (tmp_path / "b.safetensors.partial").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(backbone, "save_file", full)
        with pytest.raises(OSError, match="No space"):
            ulmfit.save_backbone(self.model(), Vocab(self.words), path)
        assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


class TestLookingIn:
    def test_layer_change(self):
        before = AWDLSTM(TINY).state_dict()
        after = {n: t.clone() for n, t in before.items()}
        for name in after:
            if "rnns.1" in name:
                after[name] *= 1.5
        moved = ulmfit.layer_change(before, after)
        assert list(moved) == ["embedding", "LSTM 1", "LSTM 2", "LSTM 3"]
        assert moved["LSTM 2"] == pytest.approx(0.5) and moved["embedding"] == moved["LSTM 3"] == 0

    def test_word_importance_is_the_difference_without_the_word(self):
        torch.manual_seed(0)
        model = TextClassifier(AWDLSTM(TINY), 3).eval()
        ids = random_ids(6).tolist()
        drops = ulmfit.word_importance(model, ids, target=1)
        whole = model(torch.tensor([ids])).softmax(-1)[0, 1].item()
        without = model(torch.tensor([ids[:2] + ids[3:]])).softmax(-1)[0, 1].item()
        assert drops.shape == (6,) and drops[2] == pytest.approx(whole - without, abs=1e-6)
        assert np.array_equal(ulmfit.word_importance(model, ids[:1]), [0.0])


def test_a_model_that_starts_from_counts_is_a_unigram_model():
    model = LanguageModel(AWDLSTMConfig(6, 4, 4, 1))
    model.encoder.embedding.weight.data.zero_()
    counts = np.array([0, 0, 3, 9, 1, 1])
    predicted = model.start_from_counts(counts).eval()(torch.tensor([[2, 3]])).softmax(-1)
    torch.testing.assert_close(predicted[0, 0], torch.tensor((counts + 1) / 20, dtype=torch.float32))
