"""The profile: how it is chosen, and what it computes in."""

import random

import numpy as np
import pytest
import torch

from tlcourse import profile


@pytest.fixture
def hardware(monkeypatch):
    """Pretend to have an accelerator: ``hardware(capability=(7, 5))`` for a T4, ``hardware(mps=True)`` for a Mac."""

    def pretend(*, capability=None, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {capability}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    pretend()
    monkeypatch.delenv("TLCOURSE_PROFILE", raising=False)
    return pretend


class TestCurrent:
    @pytest.mark.parametrize("name", profile.NAMES)
    def test_the_variable_chooses(self, hardware, monkeypatch, name):
        monkeypatch.setenv("TLCOURSE_PROFILE", name)
        assert profile.current().name == name

    @pytest.mark.parametrize("value", [None, ""])
    def test_without_it_the_hardware_does(self, hardware, monkeypatch, value):
        if value is not None:
            monkeypatch.setenv("TLCOURSE_PROFILE", value)
        assert profile.current() == profile.Profile("laptop", torch.device("cpu"), torch.float32)
        hardware(mps=True)
        assert profile.current() == profile.Profile("laptop", torch.device("mps"), torch.float32)
        hardware(capability=(8, 0), mps=True)
        assert profile.current() == profile.Profile("gpu", torch.device("cuda"), torch.bfloat16)

    @pytest.mark.parametrize("name", ["huge", "GPU", " smoke"])
    def test_an_unknown_one_names_the_choices(self, hardware, monkeypatch, name):
        monkeypatch.setenv("TLCOURSE_PROFILE", name)
        with pytest.raises(ValueError, match=f"TLCOURSE_PROFILE='{name}' is no profile.* smoke, laptop, gpu"):
            profile.current()

    @pytest.mark.parametrize("accelerator", [{"capability": (9, 0)}, {"mps": True}])
    def test_smoke_is_always_on_the_cpu(self, hardware, monkeypatch, accelerator):
        hardware(**accelerator)
        monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
        assert profile.current() == profile.Profile("smoke", torch.device("cpu"), torch.float32)

    def test_it_says_what_it_is(self, hardware):
        hardware(capability=(7, 5))
        assert str(profile.current()) == "gpu profile on GPU (7, 5), float16"
        hardware(mps=True)
        assert str(profile.current()) == "laptop profile on Apple GPU (MPS), float32"
        hardware()
        threads = torch.get_num_threads()
        assert str(profile.current()) == f"laptop profile on CPU ({threads} threads), float32"


@pytest.mark.parametrize(
    ("gpu", "capability", "dtype"),
    [
        ("V100", (7, 0), torch.float16),
        ("T4", (7, 5), torch.float16),
        ("A100", (8, 0), torch.bfloat16),
        ("L4", (8, 9), torch.bfloat16),
        ("H100", (9, 0), torch.bfloat16),
        ("B200", (10, 0), torch.bfloat16),
    ],
)
def test_autocast_dtype_of_a_gpu(hardware, gpu, capability, dtype):
    hardware(capability=capability)
    assert profile.autocast_dtype(torch.device("cuda")) == dtype


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_autocast_dtype_elsewhere(kind):
    assert profile.autocast_dtype(torch.device(kind)) == torch.float32


class TestSeedEverything:
    @staticmethod
    def draw():
        return random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist()

    def test_the_same_seed_the_same_numbers(self):
        profile.seed_everything(42)
        first = self.draw()
        assert self.draw() != first
        profile.seed_everything(42)
        assert self.draw() == first

    def test_each_generator_follows_the_seed(self):
        profile.seed_everything(1)
        first = self.draw()
        profile.seed_everything(2)
        assert all(a != b for a, b in zip(first, self.draw(), strict=True))

    def test_kernels_are_repeatable(self, monkeypatch):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
        profile.seed_everything(0)
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark


class TestChoose:
    def test_it_takes_the_current_one(self, monkeypatch):
        for name in profile.NAMES:
            monkeypatch.setenv("TLCOURSE_PROFILE", name)
            assert profile.choose({"smoke": 1, "laptop": 2, "gpu": 3}) == profile.NAMES.index(name) + 1

    def test_every_profile_needs_sizes(self, monkeypatch):
        monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")  # which has them: the others would fail elsewhere
        with pytest.raises(KeyError, match="no sizes for the profiles gpu, laptop"):
            profile.choose({"smoke": 1})
