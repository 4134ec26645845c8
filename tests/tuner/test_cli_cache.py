from pathlib import Path

import numpy as np
import pytest

from data.cache import place as cache_place
from data.cache.place import CacheConfig, place
from data.cache.window_cache import WindowCache
from tuner.cli_cache import cache


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache_place, "MEMORY", tmp_path / "none")
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "disk"))
    return tmp_path / "disk"


def test_caches_are_shown_with_what_they_hold_and_whether_they_are_in_use(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = place(CacheConfig.parse({"mode": "disk", "limit_gb": 0.1}, "test"), 1_000)
    assert chosen is not None
    windows = WindowCache.open(chosen.folder, chosen.limit_bytes)
    noise = np.random.default_rng(0).integers(0, 256, (4, 2, 256, 256), np.uint8)  # 0.5 MB, whatever the encoding
    windows.fill(b"k" * 16, np.empty_like(noise), lambda out: np.copyto(out, noise))
    cache()
    said = capsys.readouterr().out.splitlines()
    (line,) = (line for line in said if line.startswith("windows on disk"))
    assert line.endswith(f"{folders / 'windows'}, in use")
    assert 0.5 <= float(line.split()[3]) < 2
    cache(clear=True)
    assert f"kept {folders / 'windows'}: a process uses it" in capsys.readouterr().out
    windows.close()
    cache(clear=True)
    assert f"removed {folders / 'windows'}" in capsys.readouterr().out
    assert not (folders / "windows").exists()
