"""What every test runs under: one thread, no screen, no network, the smallest profile, folders of its own."""

import atexit
import ipaddress
import logging
import os
import shutil
import socket
import tempfile
import warnings

HOME = tempfile.mkdtemp(prefix="tlcourse-tests-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

# Before torch, transformers and fastai are imported, which read these once.
os.environ |= {
    "OMP_NUM_THREADS": "1",  # tests run in parallel, and threads of two processes fight for the cores
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TLCOURSE_PROFILE": os.environ.get("TLCOURSE_PROFILE") or "smoke",
    "TLCOURSE_CACHE": f"{HOME}/tlcourse",
    "FASTAI_HOME": f"{HOME}/fastai",
    "PYTHAINLP_DATA": f"{HOME}/pythainlp",
    "HF_HOME": f"{HOME}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "IPYTHONDIR": f"{HOME}/ipython",
}
for variable in ("TLCOURSE_DATA", "TLCOURSE_RECORD"):  # a test that wants one sets it
    os.environ.pop(variable, None)

import hypothesis  # noqa: E402
import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

matplotlib.use("Agg")  # not MPLBACKEND: the kernels that tests start show their pictures
torch.set_num_threads(1)
properties = {"deadline": None, "max_examples": 50, "database": None, "derandomize": True}
hypothesis.settings.register_profile("tlcourse", **properties)
hypothesis.settings.load_profile("tlcourse")

_connect = socket.socket.connect


def connect(self: socket.socket, address) -> None:
    """Connect to this machine only: a test that needs the network fails here, and says so."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
        raise OSError(f"a test tried to reach {address[0]}; tests use servers on this machine only")
    _connect(self, address)


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


socket.socket.connect = connect


@pytest.fixture
def no_warning():
    """Any warning is a failure, but one of what another test left behind, which may be reaped at any time."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
        yield


@pytest.fixture
def drawn(caplog, no_warning):
    """The course's style; a warning of a missing glyph, a font or limits that cannot be kept is a failure."""
    from matplotlib import pyplot as plt

    from tlcourse import plots

    with matplotlib.rc_context(), caplog.at_level(logging.WARNING):
        plots.use_course_style()
        matplotlib.rcParams.update({"figure.dpi": 40, "figure.constrained_layout.use": False})  # quicker
        yield
        for number in plt.get_fignums():
            if (figure := plt.figure(number)).stale:
                figure.canvas.draw()
    assert [record.message for record in caplog.records if record.name.startswith("matplotlib")] == []
    plt.close("all")
