"""What the driver tells of GPUs."""

from __future__ import annotations

import os
import sys

import pytest

from swift_export.system.cuda_driver import count_gpus


@pytest.mark.skipif(sys.platform != "linux", reason="where the driver shows itself is Linux's way")
def test_gpus_are_counted_by_the_driver():
    assert (count_gpus() > 0) == os.path.exists("/dev/nvidiactl")
