"""What a word's vectors may depend on, and that the fast ways give what the plain ones give."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tlcourse.elmo import MEDIUM, ORIGINAL, SMALL, TINY, BiLM, CharacterEncoder, ELMoConfig, character_ids
from tlcourse.elmo.model import ProjectedLSTM, mirrored

CONFIG = ELMoConfig(filters=((1, 4), (3, 6)), projection_dim=5, lstm_dim=7, char_dim=3, cell_clip=0.5, proj_clip=0.3)


def build(config: ELMoConfig = CONFIG, *, scale: float = 2.0) -> BiLM:
    """A model with large weights, so that its clips clip and its words differ; no bias is 0."""
    torch.manual_seed(1)
    model = BiLM(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(scale).add_(torch.randn_like(parameter), alpha=0.1)
    return model


MODEL = build()
words = st.text("abกิ่🙂", max_size=6)
sentences = st.lists(words, max_size=5)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


# -------------------------------------------------------------------------------------- what a vector depends on
@given(st.lists(words, min_size=1, max_size=6), st.data())
def test_forward_vectors_know_nothing_later_and_backward_ones_nothing_earlier(sentence, data):
    k = data.draw(st.integers(0, len(sentence) - 1))
    later, earlier = data.draw(sentences), data.draw(sentences)
    one, _ = MODEL(character_ids([sentence]))
    other, _ = MODEL(character_ids([sentence[: k + 1] + later]))
    for mine, theirs in zip(one.forward, other.forward, strict=True):
        close(mine[:, : k + 2], theirs[:, : k + 2])
    other, _ = MODEL(character_ids([earlier + sentence[k:]]))
    for mine, theirs in zip(one.backward, other.backward, strict=True):
        close(mine[:, k + 1 :], theirs[:, len(earlier) + 1 :])


@given(st.lists(sentences, min_size=1, max_size=4), st.integers(0, 3))
def test_padding_never_changes_anything(batch, more):
    ids = F.pad(character_ids(batch), (0, 0, 0, more))
    together, state = MODEL(ids)
    for row, sentence in enumerate(batch):
        alone, own = MODEL(character_ids([sentence]))
        n = len(sentence) + 2
        for name, vectors in alone.named().items():
            close(together.named()[name][row, :n], vectors[0])
            assert not together.named()[name][row, n:].any()
        close(state.output[:, :, row], own.output[:, :, 0])
        close(state.cell[:, :, row], own.cell[:, :, 0])


def test_each_direction_does_depend_on_its_own_side():
    one, _ = MODEL(character_ids([["a", "b", "c"]]))
    other, _ = MODEL(character_ids([["c", "b", "a"]]))
    for mine, theirs in zip(one.forward + one.backward, other.forward + other.backward, strict=True):
        assert (mine[0, 2] - theirs[0, 2]).abs().max() > 1e-3
    close(one.characters[0, 2], other.characters[0, 2])


@given(st.lists(words, min_size=1, max_size=4), st.lists(words, min_size=1, max_size=4))
def test_the_state_goes_on_where_a_sentence_was_cut(left, right):
    whole = character_ids([left + right])[:, 1:-1]  # no marks between
    first, second = whole[:, : len(left)], whole[:, len(left) :]
    at_once, end = MODEL(whole)
    _, state = MODEL(first)
    after, state = MODEL(second, state)
    close(after.forward[-1], at_once.forward[-1][:, len(left) :])
    close(state.cell[:, 0], end.cell[:, 0])
    _, state = MODEL(second)  # backward, the right part comes first
    before, state = MODEL(first, state)
    close(before.backward[-1], at_once.backward[-1][:, : len(left)])
    close(state.output[:, 1], end.output[:, 1])


def test_rows_keep_their_own_state_in_batches_of_any_size():
    batches = [[["a"], ["b", "c"], ["a", "a"]], [["b"]], [["c"], ["a"]], [["b"], ["c"], ["a"], ["b", "b"]]]
    state, alone = None, {}
    for batch in batches:
        layers, state = MODEL(character_ids(batch), state)
        for row, sentence in enumerate(batch):
            own, alone[row] = MODEL(character_ids([sentence]), alone.get(row))
            close(layers.forward[1][row, : len(sentence) + 2], own.forward[1][0])
            close(layers.backward[1][row, : len(sentence) + 2], own.backward[1][0])
        assert len(state) == len(alone)
    for row, own in alone.items():
        close(state.cell[:, :, row], own.cell[:, :, 0])


def test_a_row_without_words_keeps_its_state_and_gives_zeros():
    _, state = MODEL(character_ids([["a"], ["b"]]))
    ids = character_ids([["a"], ["b"]])
    ids[0] = 0
    layers, after = MODEL(ids, state)
    assert after.output[:, :, 0].equal(state.output[:, :, 0]) and not layers.backward[1][0].any()
    nothing, same = MODEL(torch.zeros_like(ids), state)
    assert same.cell.equal(state.cell) and nothing.forward[1].shape == (2, 3, 5) and not nothing.forward[1].any()


def test_a_mask_hides_words():
    ids = character_ids([["a", "b", "c"]])
    hidden, _ = MODEL(ids, mask=torch.tensor([[True, True, True, False, False]]))
    cut, _ = MODEL(ids[:, :3])
    for name, vectors in cut.named().items():
        close(hidden.named()[name][:, :3], vectors)
        assert not hidden.named()[name][:, 3:].any()


def test_no_sentences_and_one():
    layers, state = MODEL(character_ids([]))
    assert layers.representations()["2"].shape == (0, 2, 10) and len(state) == 0
    layers, state = MODEL(character_ids([["แมว"]]))
    assert layers.representations()["2"].shape == (1, 3, 10) and len(state) == 1


# ------------------------------------------------------------------------------------------------- representations
def test_2l_plus_1_vectors_a_word_by_name():
    layers, _ = build(replace(CONFIG, n_layers=3))(character_ids([["a", "b"]]))
    named = layers.named()
    assert list(named) == [
        "characters",
        *["forward 1", "backward 1", "forward 2", "backward 2", "forward 3", "backward 3"],
    ]
    assert all(vectors.shape == (1, 4, 5) for vectors in named.values())
    both = layers.representations()
    assert list(both) == ["0", "1", "2", "3"]
    assert both["0"].equal(torch.cat([named["characters"]] * 2, -1))
    for layer in "123":
        assert both[layer].equal(torch.cat([named[f"forward {layer}"], named[f"backward {layer}"]], -1))


def test_a_skip_connection_adds_the_layer_below():
    ids = character_ids([["a", "b", "c"]])
    (skip, _), (plain, _) = MODEL(ids), build(replace(CONFIG, skip=False))(ids)
    close(skip.forward[0], plain.forward[0])  # none around the first
    close(skip.forward[1], plain.forward[1] + plain.forward[0])
    close(skip.backward[1], plain.backward[1] + plain.backward[0])


def test_clips_are_kept():
    layers, state = MODEL(character_ids([["a", "b", "ก", "d"]]))
    for values, clip in ((layers.forward[0], 0.3), (layers.backward[0], 0.3), (state.cell, 0.5)):
        assert values.abs().max().item() == pytest.approx(clip)
        assert 0 < (values.abs() < clip - 1e-6).float().mean() < 1  # some are clipped, some are not


@pytest.mark.parametrize(
    ("config", "millions"),
    [(SMALL, 13.6), (MEDIUM, 28.0), (ORIGINAL, 93.6)],
)
def test_published_numbers_of_parameters(config, millions):
    with torch.device("meta"):
        model = BiLM(config)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions


# -------------------------------------------------------------------------------------------------- fast and plain
def plain_characters(encoder: CharacterEncoder, ids: torch.Tensor) -> torch.Tensor:
    """Every word, every window, one word at a time."""
    rows = []
    for word in ids.flatten(0, 1):
        x = encoder.embedding(word[None]).transpose(1, 2)
        x = torch.cat([encoder.activation(conv(x)).amax(2) for conv in encoder.convolutions], 1)
        for highway in encoder.highways:
            gate = torch.sigmoid(highway.gate(x))
            x = gate * F.relu(highway.transform(x)) + (1 - gate) * x
        rows.append(encoder.projection(x) * (word[0] > 0))
    return torch.cat(rows).unflatten(0, ids.shape[:2])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@settings(max_examples=30)
@given(batch=st.lists(st.lists(st.text(max_size=14), max_size=4), min_size=1, max_size=3))
def test_characters_are_those_of_every_word_by_itself(activation, batch):
    config = replace(CONFIG, activation=activation, longest=14, filters=((1, 3), (5, 4), (14, 2)), n_highway=2)
    encoder = build(config).characters
    ids = character_ids(batch, longest=14)
    close(encoder(ids), plain_characters(encoder, ids))


def test_characters_of_the_longest_words():
    ids = character_ids([["a" * 100, "ก" * 15, "b"], ["a" * 47], ["a" * 48]])
    close(MODEL.characters(ids), plain_characters(MODEL.characters, ids))


MASK = torch.tensor([[True, False, False, False], [True] * 4, [False] * 4, [True, True, False, False]])


def lstm(*, clip: float | None = None) -> ProjectedLSTM:
    torch.manual_seed(1)
    return ProjectedLSTM(3, 6, 4, cell_clip=clip, proj_clip=clip).double()


def run(module: ProjectedLSTM, x: torch.Tensor, *, mask=None) -> tuple[torch.Tensor, ...]:
    """Output, both states, and the gradients of all that is learned and of the input."""
    x = x.clone().requires_grad_()
    generator = torch.Generator().manual_seed(2)
    state = tuple(torch.randn(len(x), n, generator=generator).double() for n in (4, 6))
    module.zero_grad()
    output, end = module(x, state, mask=mask)
    (output.sin().sum() + end[0].sum() + end[1].cos().sum()).backward()
    return output, *end, x.grad, *(parameter.grad.clone() for parameter in module.parameters())


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_library_and_the_steps_agree(mask, monkeypatch):
    x, module = torch.randn(4, 4, 3).double(), lstm()
    library = run(module, x, mask=mask)
    monkeypatch.setattr(module, "_library", module._steps)
    for fast, plain in zip(library, run(module, x, mask=mask), strict=True):
        torch.testing.assert_close(fast, plain)


@pytest.mark.parametrize("mask", [None, MASK])
def test_clips_that_never_clip_change_nothing(mask):
    x = torch.randn(4, 4, 3).double()
    for clipped, free in zip(run(lstm(clip=1e6), x, mask=mask), run(lstm(), x, mask=mask), strict=True):
        torch.testing.assert_close(clipped, free)


def test_it_is_pytorchs_lstm_with_a_projection():
    ours, theirs = lstm(), nn.LSTM(3, 6, proj_size=4, batch_first=True).double()
    with torch.no_grad():
        for mine, name in zip(ours.parameters(), ["weight_ih", "weight_hh", "bias_ih", "weight_hr"], strict=True):
            getattr(theirs, f"{name}_l0").copy_(mine)
        theirs.bias_hh_l0.zero_()
    x = torch.randn(2, 5, 3).double()
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def test_reading_backward_is_its_own_inverse():
    position = mirrored(MASK)
    assert position.tolist() == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 2, 3]]
    assert position.gather(1, position).equal(torch.arange(4).expand(4, 4))


# ------------------------------------------------------------------------------------------------------- learning
def test_gradients_flow_to_every_parameter():
    torch.manual_seed(0)
    model = BiLM(TINY).train()
    layers, _ = model(character_ids([["แมว", "กิน", "ปลา"], ["the", "cat"]]))
    sum((vectors**2).sum() for vectors in layers.named().values()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    assert not model.characters.embedding.weight.grad[0].any()  # "no character" stays 0


def test_the_state_can_be_cut_off():
    torch.manual_seed(0)
    model = BiLM(TINY)
    _, state = model(character_ids([["a"]]))
    assert state.cell.requires_grad and not state.detach().cell.requires_grad
    layers, _ = model(character_ids([["b"]]), state.detach())
    layers.forward[1].sum().backward()  # a second time through the first batch would raise


def test_dropout_is_for_training():
    torch.manual_seed(0)
    model, ids = BiLM(replace(TINY, dropout=0.5)), character_ids([["a", "b"]])
    first, second = model(ids)[0], model(ids)[0]
    assert not first.forward[0].equal(second.forward[0]) and first.characters.equal(second.characters)
    model.eval()
    assert model(ids)[0].forward[0].equal(model(ids)[0].forward[0])


def test_a_model_learns_the_next_word():
    """Ten steps on "a b c" lower the loss of the forward direction."""
    torch.manual_seed(0)
    model, ids = BiLM(TINY), character_ids([["a", "b", "c"]] * 2)
    head = nn.Linear(TINY.projection_dim, 4)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(10):
        layers, _ = model(ids)
        loss = F.cross_entropy(head(layers.forward[-1][:, :-1]).flatten(0, 1), torch.arange(4).repeat(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lstm_dim": 0}, "lstm_dim=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"n_highway": -1}, "n_highway=-1"),
        ({"filters": ()}, r"filters=\(\)"),
        ({"filters": ((51, 4),)}, "longest=50"),
        ({"cell_clip": -1.0}, "cell_clip=-1.0"),
        ({"proj_clip": float("nan")}, "proj_clip=nan"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"activation": "gelu"}, "activation='gelu'"),
    ],
)
def test_sizes_that_make_no_model(change, says):
    with pytest.raises(ValueError, match=says):
        replace(CONFIG, **change)
